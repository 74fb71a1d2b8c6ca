"""File systems and bind mounts of every kind: runtime-spec config.md#mounts."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Any

from harness.inside import (
    CLONE_NEWIPC,
    CLONE_NEWNET,
    CLONE_NEWPID,
    TMPFS,
    do,
    inside,
    mount_entry,
    mounted,
    mounts,
    seen,
)

from ocirun.kernel.mount import AT_FDCWD, AT_RECURSIVE, MS_SHARED, mount_setattr
from ocirun.rootfs import finalize, pivot
from ocirun.rootfs.context import Entry
from ocirun.rootfs.source_trees import open_source

if TYPE_CHECKING:
    from pathlib import Path


def test_the_usual_file_systems(root: Path) -> None:
    quiet = ["nosuid", "noexec", "nodev"]
    entries = [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
         "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
        {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
         "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
        {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": quiet},
        {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": [*quiet, "ro"]},
    ]  # fmt: skip

    def work() -> object:
        do(root, *entries)
        return {place: seen(row) for place, row in mounts(str(root)).items()}

    found: Any = inside(work, CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWNET)
    assert found["/proc"]["type"] == "proc"
    # Kernel: shown where it is built with CONFIG_TMPFS_INODE64.
    assert {"inode64", *found["/dev"]["super"]} == {"inode64", "mode=755", "rw", "size=65536k"}
    assert found["/dev"]["options"] == ["nosuid", "rw"]
    assert {"gid=5", "mode=620", "ptmxmode=666"} < set(found["/dev/pts"]["super"])
    assert found["/dev/mqueue"]["type"] == "mqueue"
    assert (found["/sys"]["super"], "ro" in found["/sys"]["options"]) == (["ro"], True)


def test_a_tmpfs_has_the_mode_of_what_it_covers(root: Path) -> None:
    (root / "t").mkdir()
    (root / "t").chmod(0o1770)
    for options, mode in (([], 0o1770), (["mode=711"], 0o711)):

        def work(words: list[str] = options) -> object:
            do(root, {**TMPFS, "options": words})
            return (root / "t").stat().st_mode & 0o7777

        assert inside(work) == mode
    fresh = {**TMPFS, "destination": "/fresh"}
    assert inside(lambda: (do(root, fresh), (root / "fresh").stat().st_mode & 0o7777)[1]) == 0o1777


def test_an_overlay_with_more_layers_than_fsconfig_takes(root: Path) -> None:
    layers = [root.parent / f"layer-with-a-long-name-{number:060}" for number in range(6)]
    for layer in layers:
        layer.mkdir()
        (layer / layer.name[-2:]).touch()
    lower = "lowerdir=" + ":".join(map(str, layers))
    assert len(lower) > 400
    entry = {"destination": "/o", "type": "overlay", "source": "overlay",
             "options": [lower, "nosuid", "ro", "rshared"]}  # fmt: skip

    def work() -> object:
        before = os.getcwd()
        do(root, entry)
        assert os.getcwd() == before
        row = mounts(str(root))["/o"]
        return sorted(os.listdir(root / "o")), sorted(row.options), row.optional[:7]

    names, options, optional = inside(work)  # type: ignore[misc]
    assert names == [f"0{number}" for number in range(6)]
    assert {"nosuid", "ro"} < set(options)
    assert optional == "shared:"


def test_remount_changes_what_is_there(root: Path) -> None:
    again = {"destination": "/t", "options": ["remount", "bind", "nosuid", "ro"]}
    assert mounted(root, TMPFS, again, at="/t")["options"] == ["nosuid", "relatime", "ro"]
    whole = {**TMPFS, "options": ["remount", "ro", "size=1m"]}
    found = mounted(root, TMPFS, whole, at="/t")
    assert {"ro", "size=1024k"} <= set(found["super"])


def test_tmpcopyup_begins_with_what_it_covers(root: Path) -> None:
    covered = root / "t"
    (covered / "sub" / "deep").mkdir(parents=True)
    (covered / "sub").chmod(0o2751)
    (covered / "sub" / "file").write_bytes(b"x" * 70000)
    os.chown(covered / "sub" / "file", 12, 34)
    (covered / "sub" / "file").chmod(0o4755)
    os.utime(covered / "sub" / "file", ns=(10**18, 10**18 + 7))
    (covered / "link").symlink_to("/nowhere")
    os.mkfifo(covered / "fifo")
    os.mknod(covered / "null", stat.S_IFCHR | 0o640, os.makedev(1, 3))

    def work() -> object:
        do(root, {**TMPFS, "options": ["tmpcopyup", "mode=750"]})
        file = (covered / "sub" / "file").stat()
        (covered / "added").touch()
        return {
            "names": sorted(os.listdir(covered)),
            "top": covered.stat().st_mode & 0o7777,
            "sub": (covered / "sub").stat().st_mode & 0o7777,
            "file": [file.st_mode & 0o7777, file.st_uid, file.st_gid, file.st_size],
            "time": file.st_mtime_ns,
            "link": os.readlink(covered / "link"),
            "fifo": stat.S_ISFIFO((covered / "fifo").stat().st_mode),
            "null": (covered / "null").stat().st_rdev,
        }

    assert inside(work) == {
        "names": ["added", "fifo", "link", "null", "sub"],
        "top": 0o750,
        "sub": 0o2751,
        "file": [0o4755, 12, 34, 70000],
        "time": 10**18 + 7,
        "link": "/nowhere",
        "fifo": True,
        "null": os.makedev(1, 3),
    }
    assert "added" not in os.listdir(covered)


def test_links_as_source_and_destination(root: Path) -> None:
    source = root.parent / "source"
    source.symlink_to("/etc/hostname")
    (root / "place").symlink_to("/gone")
    copied = {"destination": "/a/copy", "source": str(source), "options": ["bind", "copy-symlink"]}
    over = {"destination": "/place", "source": str(source),
            "options": ["bind", "src-nofollow", "dest-nofollow"]}  # fmt: skip
    plain = {"destination": "/b", "source": "/etc", "options": ["bind", "copy-symlink"]}

    def work() -> object:
        do(root, copied, over, plain)
        found = mounts(str(root))
        return os.readlink(root / "a" / "copy"), os.readlink(root / "place"), sorted(found)

    assert inside(work) == ["/etc/hostname", "/etc/hostname", ["/", "/b", "/place"]]


def test_the_parent_opens_what_init_may_not(root: Path) -> None:
    """In a user namespace: a source behind a closed directory, and never shared with the host."""
    closed = root.parent / "closed"
    (closed / "source").mkdir(parents=True)
    (closed / "source" / "file").touch()
    closed.chmod(0)
    entries = [
        {"destination": "/m", "source": str(closed / "source"), "options": ["bind", "ro"]},
        {"destination": "/n", "source": "closed/source", "options": ["rbind", "nodev"]},
    ]

    def host() -> object:
        mount_setattr(AT_FDCWD, "/", AT_RECURSIVE, propagation=MS_SHARED)
        fds = {index: open_source(Entry(one, index, str(root.parent)), userns=True)
               for index, one in enumerate(entries)}  # fmt: skip

        def container() -> object:
            do(root, *entries, userns=True, source_fds=fds)
            found = mounts(str(root))
            return [
                (root / "m" / "file").stat().st_uid,
                (root / "n" / "file").stat().st_uid,
                sorted(found["/m"].options & {"ro"}),
                [found[place].optional[:7] for place in ("/m", "/n")],
            ]

        return inside(container, root_of_userns=True)

    assert inside(host) == [0, 0, ["ro"], ["master:", "master:"]]
    assert open_source(Entry(TMPFS, 0, "/"), userns=False) is None


def test_a_relative_source_starts_at_the_bundle(root: Path) -> None:
    (root.parent / "data").mkdir()
    (root.parent / "data" / "mark").touch()
    entry = {"destination": "/d", "source": "data", "options": ["rbind"]}
    assert inside(lambda: (do(root, entry), os.listdir(root / "d"))[1]) == ["mark"]


def test_readonly_tmpfs_and_dev_wait_for_the_end(root: Path) -> None:
    dev = {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["ro"]}
    bound = {"destination": "/dev/", "source": str(root.parent), "options": ["bind", "ro"]}

    def work(entry: dict[str, Any]) -> object:
        root_fd, context = do(root, entry)
        writable = os.access(root / "dev", os.W_OK)
        pivot.pivot(root_fd)
        finalize.remount_readonly(context.deferred)
        os.mkdir("/proc", 0o755)
        mount_entry(root_fd, {"destination": "/proc", "type": "proc"}, context)
        assert context.deferred == []
        return writable, "ro" in mounts()["/dev"].options

    for entry in (dev, bound):
        assert inside(lambda one=entry: work(one)) == [True, True]
        (root / "proc").rmdir()
