"""The functions of ocirun/rootfs on the real kernel, without a container around them.

runtime-spec config.md#mounts, config-linux.md#devices, #masked-paths, #readonly-paths,
#rootfs-mount-propagation. Each test assembles a small root in a child with a mount namespace.
"""

from __future__ import annotations

import ctypes
import os
import signal
import stat
import time
from typing import TYPE_CHECKING, Any

import pytest
from harness.inside import (
    CLONE_NEWCGROUP,
    CLONE_NEWIPC,
    CLONE_NEWNET,
    CLONE_NEWPID,
    Mounted,
    Refused,
    inside,
    mounts,
)

from ocirun.rootfs import devices, finalize, hidden, pivot, prepare
from ocirun.rootfs.context import CgroupView, Hierarchy, MountContext
from ocirun.rootfs.mounts import load_for, mount_entry

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(os.geteuid() != 0, reason="not root"),
]

NODES = {"null": 3, "zero": 5, "full": 7, "random": 8, "urandom": 9}
DEVICES: list[dict[str, Any]] = [
    {"path": f"/dev/{name}", "type": "c", "major": 1, "minor": minor, "fileMode": 0o666}
    for name, minor in NODES.items()
]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An empty root, and a directory beside it that must stay empty."""
    (tmp_path / "outside").mkdir()
    made = tmp_path / "root"
    made.mkdir()
    return made


def do(root: Path, *entries: dict[str, Any], **circumstances: object) -> tuple[int, MountContext]:
    """Attach the root and do the mount entries; in a child only."""
    context = MountContext(str(root.parent), **circumstances)  # type: ignore[arg-type]
    root_fd = prepare.attach_root(str(root))
    load_for([*entries])
    for index, entry in enumerate(entries):
        mount_entry(root_fd, entry, context, index)
    return root_fd, context


def seen(row: Mounted) -> dict[str, Any]:
    """A mount as the tests compare it."""
    return {
        "options": sorted(row.options),
        "type": row.fs_name,
        "source": row.source,
        "super": sorted(row.super_options.split(",")),
        "optional": row.optional,
    }


def mounted(
    root: Path, *entries: dict[str, Any], at: str, namespaces: int = 0, **more: object
) -> dict[str, Any]:
    """Do the entries in a child and return what mountinfo then says of `at`."""

    def work() -> object:
        do(root, *entries, **more)
        return seen(mounts(str(root))[at])

    result = inside(work, namespaces)
    assert isinstance(result, dict)
    return result


# -- paths -------------------------------------------------------------------------------------


def test_a_destination_through_a_link_stays_inside(root: Path) -> None:
    outside = root.parent / "outside"
    (root / "link").symlink_to(outside)
    (root / "up").symlink_to("../../../outside")

    def work() -> object:
        do(
            root,
            {"destination": "/link/deep", "type": "tmpfs", "source": "tmpfs"},
            {"destination": "/up", "type": "tmpfs", "source": "tmpfs"},
            {"destination": "/up2/file", "source": "/etc/hostname", "options": ["bind"]},
        )
        return sorted(mounts(str(root))), os.listdir(outside)

    places, left = inside(work)  # type: ignore[misc]
    assert places == sorted(["/", f"{outside}/deep", "/outside", "/up2/file"])
    assert left == []


def test_a_directory_exchanged_for_a_link_gains_nothing(root: Path) -> None:
    """CVE-2021-30465, CVE-2024-45310: half the time the parent of the mounts is a link."""
    outside = root.parent / "outside"
    (root / "vol" / "dir").mkdir(parents=True)
    (root / "vol" / "link").symlink_to(f"../../{'../' * 20}{str(outside)[1:]}")
    rounds = 300

    def work() -> object:
        root_fd, context = do(root)
        swapper = os.fork()
        if swapper == 0:
            exchange_forever(root / "vol" / "dir", root / "vol" / "link")
        refused = escaped = 0
        try:
            for number in range(rounds):
                entry = {"destination": f"/vol/dir/new{number}", "type": "tmpfs"}
                if number % 2:
                    entry = {
                        "destination": f"/vol/dir/file{number}",
                        "source": "/etc/hostname",
                        "options": ["bind"],
                    }
                try:
                    mount_entry(root_fd, entry, context)
                except Exception:  # noqa: BLE001  # a lost race may fail, never leave the root
                    refused += 1
            escaped = sum(place.startswith(str(outside)) for place in mounts())
        finally:
            os.kill(swapper, signal.SIGKILL)
            os.waitpid(swapper, 0)
        return refused, escaped, len(mounts(str(root)))

    refused, escaped, made = inside(work)  # type: ignore[misc]
    assert escaped == 0
    assert os.listdir(outside) == []
    assert made + refused >= rounds
    assert refused < rounds / 2


def exchange_forever(one: Path, other: Path) -> None:
    """Swap two names as fast as it goes, for as long as the parent lives but half a minute."""
    renameat2 = ctypes.CDLL(None).renameat2
    end = time.monotonic() + 30
    while time.monotonic() < end:
        for _ in range(100):
            renameat2(-100, os.fsencode(one), -100, os.fsencode(other), 2)
    os._exit(0)


def test_nothing_may_cover_the_root(root: Path) -> None:
    (root / "self").symlink_to("/")
    for destination in ("/", "/self", "/x/.."):
        with pytest.raises(Refused, match="is on the top of rootfs"):
            inside(lambda where=destination: do(root, {"destination": where, "type": "tmpfs"}))


@pytest.mark.parametrize("fs_name", ["proc", "sysfs"])
def test_proc_and_sysfs_want_an_ordinary_directory(root: Path, fs_name: str) -> None:
    """CVE-2019-19921, CVE-2023-27561."""
    (root / "elsewhere" / "place").mkdir(parents=True)
    (root / "place").symlink_to("elsewhere/place")
    (root / "way").symlink_to("elsewhere")
    (root / "file").touch()
    words = f'filesystem "{fs_name}" must be mounted on ordinary directory'
    for destination in ("/place", "/way/place", "/way/new", "/file"):
        entry = {"destination": destination, "type": fs_name, "source": fs_name}
        with pytest.raises(Refused, match=words):
            inside(lambda one=entry: do(root, one), CLONE_NEWPID | CLONE_NEWNET)


def test_the_rules_of_proc(root: Path) -> None:
    """CVE-2019-16884: only a procfs is /proc, and only the files of lxcfs lie below it."""
    (root / "alias").symlink_to("/proc")
    (root / "inner").symlink_to("/proc/sys")
    proc = {"destination": "/proc", "type": "proc", "source": "proc"}
    lxcfs = {"destination": "/proc/uptime", "source": "/etc/hostname", "options": ["bind"]}
    again = {"destination": "/proc", "source": "/proc", "options": ["rbind"]}
    assert mounted(root, proc, lxcfs, at="/proc/uptime", namespaces=CLONE_NEWPID)
    assert mounted(root, again, at="/proc")["type"] == "proc"
    for entries, words in (
        ([{"destination": "/proc", "type": "tmpfs"}], "is not of type proc"),
        ([{"destination": "/proc", "source": "/etc", "options": ["bind"]}], "not of type proc"),
        ([proc, {"destination": "/proc/sys", "type": "tmpfs"}], "is inside /proc"),
        ([proc, {"destination": "/inner", "type": "tmpfs"}], "is inside /proc"),
        ([{"destination": "/alias", "type": "tmpfs"}, proc], "is not of type proc"),
    ):
        (root / "proc").mkdir(exist_ok=True)
        with pytest.raises(Refused, match=words):
            inside(lambda all_of=entries: do(root, *all_of), CLONE_NEWPID)


# -- options and types -------------------------------------------------------------------------

TMPFS = {"destination": "/t", "type": "tmpfs", "source": "tmpfs"}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], {"rw", "relatime"}),
        (["nosuid", "nodev", "noexec"], {"rw", "nosuid", "nodev", "noexec", "relatime"}),
        (["noatime", "nodiratime"], {"rw", "noatime", "nodiratime"}),
        (["strictatime"], {"rw"}),
        (["noatime", "relatime"], {"rw", "relatime"}),
        (["nosuid", "suid", "nosymfollow"], {"rw", "relatime", "nosymfollow"}),
        (["rnosuid", "rnoatime"], {"rw", "nosuid", "noatime"}),
        (["rro"], {"ro", "relatime"}),
        (["sync", "dirsync"], {"rw", "relatime"}),
    ],
)
def test_the_words_of_a_new_file_system(root: Path, options: list[str], expected: set[str]) -> None:
    found = mounted(root, {**TMPFS, "options": options}, at="/t")
    assert set(found["options"]) == expected
    assert set(options) & {"sync", "dirsync"} <= set(found["super"])


@pytest.mark.parametrize(
    ("source", "options", "expected"),
    [
        (["nosuid", "nodev", "noatime"], [], {"rw", "nosuid", "nodev", "noatime"}),
        (["nosuid", "nodev", "noatime"], ["ro"], {"ro", "noatime"}),
        (["nosuid", "nodev"], ["nosuid", "rw"], {"rw", "nosuid", "relatime"}),
        (["noexec"], ["exec"], {"rw", "relatime"}),
        (["noexec"], ["rnosuid"], {"rw", "noexec", "nosuid", "relatime"}),
        (["noatime"], ["strictatime"], {"rw"}),
        ([], ["rro"], {"ro", "relatime"}),
        ([], ["ro", "mode=755", "sync"], {"ro", "relatime"}),
    ],
)
def test_the_words_of_a_bind_mount(
    root: Path, source: list[str], options: list[str], expected: set[str]
) -> None:
    """Without words the source's attributes stay; with some it has just those, as with runc."""
    origin = {**TMPFS, "options": source}
    bind = {"destination": "/b", "source": f"{root}/t", "options": ["bind", *options]}
    assert set(mounted(root, origin, bind, at="/b")["options"]) == expected


def test_ro_is_for_the_mount_and_rro_for_all_below(root: Path) -> None:
    below = {"destination": "/t/below", "type": "tmpfs", "source": "tmpfs"}
    for word, top, sub in (("ro", "ro", "rw"), ("rro", "ro", "ro"), ("rw", "rw", "rw")):
        bind = {"destination": "/b", "source": f"{root}/t", "options": ["rbind", word]}
        assert top in mounted(root, TMPFS, below, bind, at="/b")["options"]
        assert sub in mounted(root, TMPFS, below, bind, at="/b/below")["options"]
    bind = {"destination": "/b", "source": f"{root}/t", "options": ["bind"]}
    with pytest.raises(Exception, match="KeyError"):
        mounted(root, TMPFS, below, bind, at="/b/below")


@pytest.mark.parametrize(
    ("words", "optional"),
    [
        ([], ""),
        (["shared"], r"shared:\d+"),
        (["shared", "slave"], ""),
        (["rshared"], r"shared:\d+"),
        (["unbindable"], "unbindable"),
        (["rprivate"], ""),
    ],
)
def test_each_mount_has_its_own_propagation(root: Path, words: list[str], optional: str) -> None:
    import re

    for entry in (
        {**TMPFS, "options": words},
        {"destination": "/t", "source": "/etc", "options": ["rbind", *words]},
    ):
        assert re.fullmatch(optional, mounted(root, entry, at="/t")["optional"])


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
    assert found["/dev"]["super"] == ["mode=755", "rw", "size=65536k"]
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


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"type": "tmpfs", "options": ["size=lots"]}, "invalid argument .*(size|lots)"),
        ({"type": "tmpfs", "options": ["nonsense"]}, "Unknown parameter 'nonsense'"),
        ({"type": "nosuchfs"}, 'no such device .*knows no file system "nosuchfs"'),
        ({"type": "bind", "source": "/etc"}, 'no such device .*needs the option "bind" or "rbind"'),
        ({"source": "/does/not/exist", "options": ["bind"]}, "no such file or directory"),
        ({"source": "/etc/hostname", "options": ["bind"]}, "not a directory .*the other way round"),
        ({"source": "/etc", "options": ["bind", "idmap"]}, "id-mapped mounts"),
    ],
)
def test_a_failed_mount_says_what_and_why(root: Path, entry: dict[str, Any], words: str) -> None:
    (root / "t").mkdir()
    with pytest.raises(Refused, match=words):
        inside(lambda: do(root, {"destination": "/t", **entry}))


def test_a_user_namespace_without_a_network_cannot_mount_sysfs(root: Path) -> None:
    entry = {"destination": "/sys", "type": "sysfs", "source": "sysfs"}
    with pytest.raises(Refused, match=r"operation not permitted .*bind /sys instead"):
        inside(lambda: do(root, entry, userns=True), root_of_userns=True)


def test_locked_attributes_stay_in_a_user_namespace(root: Path) -> None:
    """The mount namespace is copied with its attributes locked."""

    def with_locks(options: list[str]) -> object:
        root_fd, _ = do(root, {**TMPFS, "options": ["nosuid", "nodev", "noatime"]})
        bind = {"destination": "/b", "source": f"{root}/t", "options": options}

        def work() -> object:
            mount_entry(root_fd_of(root), bind, MountContext("/", userns=True))
            return sorted(mounts(str(root))["/b"].options)

        os.close(root_fd)
        return inside(work, root_of_userns=True, propagate=False)

    kept = ["noatime", "nodev", "nosuid", "ro"]
    assert inside(lambda: with_locks(["bind", "ro"])) == kept
    assert inside(lambda: with_locks(["bind"])) == ["noatime", "nodev", "nosuid", "rw"]

    def refused() -> object:
        try:
            return with_locks(["bind", "suid"])
        except Refused as error:
            return str(error)

    assert "operation not permitted (an option clears" in str(inside(refused))


def root_fd_of(root: Path) -> int:
    """The root as a child of a child finds it, through its own mount namespace."""
    return os.open(root, os.O_PATH | os.O_DIRECTORY)


def test_no_descriptor_is_left_open(root: Path) -> None:
    def work() -> object:
        root_fd, context = do(root)
        before = len(os.listdir("/proc/self/fd"))
        for entry in (
            TMPFS,
            {**TMPFS, "destination": "/a/b/c"},
            {"destination": "/e/f", "source": "/etc/hostname", "options": ["bind", "ro"]},
            {**TMPFS, "destination": "/"},
            {**TMPFS, "options": ["nonsense"]},
            {"destination": "/e", "source": "/etc/hostname", "options": ["bind"]},
        ):
            try:
                mount_entry(root_fd, entry, context)
            except Exception:  # noqa: BLE001  # some are meant to fail
                continue
        return len(os.listdir("/proc/self/fd")) - before

    assert inside(work) == 0


# -- devices -----------------------------------------------------------------------------------


def made_devices(root: Path, wanted: list[dict[str, Any]], *, bind: bool = False) -> Any:  # noqa: ANN401  # JSON
    def work() -> object:
        os.umask(0o077)
        root_fd, _ = do(root)
        devices.make_devices(root_fd, wanted, bind)
        assert os.umask(0o077) == 0o077
        found = {}
        for device in wanted:
            status = os.lstat(f"{root}{device['path']}")
            found[device["path"]] = [
                stat.S_IFMT(status.st_mode),
                status.st_mode & 0o7777,
                status.st_uid,
                status.st_gid,
                os.major(status.st_rdev),
                os.minor(status.st_rdev),
            ]
        return found, sorted(mounts(str(root)))

    return inside(work)


def test_nodes_have_the_type_mode_and_owner_asked_for(root: Path) -> None:
    wanted = [
        *DEVICES,
        {"path": "/dev/a/b/block", "type": "b", "major": 7, "minor": 300, "fileMode": 0o600},
        {"path": "/dev/u", "type": "u", "major": 1, "minor": 3, "fileMode": 0o4622, "uid": 7},
        {"path": "/run/fifo", "type": "p", "fileMode": 0o642, "gid": 9},
        {"path": "/dev/plain", "type": "c", "major": 1, "minor": 7},
    ]
    found, places = made_devices(root, wanted)
    for name, minor in NODES.items():
        assert found[f"/dev/{name}"] == [stat.S_IFCHR, 0o666, 0, 0, 1, minor]
    assert found["/dev/a/b/block"] == [stat.S_IFBLK, 0o600, 0, 0, 7, 300]
    assert found["/dev/u"] == [stat.S_IFCHR, 0o4622, 7, 0, 1, 3]
    assert found["/run/fifo"][:4] == [stat.S_IFIFO, 0o642, 0, 9]
    assert found["/dev/plain"] == [stat.S_IFCHR, 0o666, 0, 0, 1, 7]
    assert places == ["/"]


def test_a_node_of_the_image_gets_mode_and_owner(root: Path) -> None:
    (root / "dev").mkdir()
    os.mknod(root / "dev" / "null", stat.S_IFCHR | 0o600, os.makedev(1, 3))
    wanted = [{**DEVICES[0], "uid": 5, "gid": 6}]
    assert made_devices(root, wanted)[0]["/dev/null"] == [stat.S_IFCHR, 0o666, 5, 6, 1, 3]


def test_something_else_at_the_path_is_refused(root: Path) -> None:
    (root / "dev").mkdir()
    for make in (
        lambda: (root / "dev" / "null").write_text("no device"),
        lambda: (root / "dev" / "null").symlink_to("/etc/passwd"),
        lambda: os.mknod(root / "dev" / "null", stat.S_IFCHR | 0o600, os.makedev(1, 5)),
    ):
        make()
        with pytest.raises(Refused, match='device "/dev/null": something else'):
            made_devices(root, DEVICES)
        (root / "dev" / "null").unlink()


def test_bound_nodes_are_the_hosts(root: Path) -> None:
    found, places = made_devices(root, DEVICES, bind=True)
    assert found["/dev/full"][4:] == [1, 7]
    assert places == ["/", *sorted(f"/dev/{name}" for name in NODES)]
    wrong = {"path": "/dev/null", "type": "c", "major": 1, "minor": 5}
    with pytest.raises(Refused, match="something else"):
        made_devices(root, [wrong], bind=True)


def test_nodes_are_bound_where_mknod_is_not_permitted(root: Path) -> None:
    def work() -> object:
        root_fd, _ = do(root)
        devices.make_devices(root_fd, DEVICES, bind=False)
        row = mounts(str(root))["/dev/null"]
        return sorted(row.options & {"nosuid", "noexec"})

    assert inside(work, root_of_userns=True) == ["noexec", "nosuid"]


def test_a_linked_dev_does_not_reach_the_host(root: Path) -> None:
    """CVE-2026-41579."""
    outside = root.parent / "outside"
    (outside / "ptmx").touch()
    (root / "dev").symlink_to("../outside")

    def work() -> object:
        root_fd, _ = do(root)
        devices.make_devices(root_fd, DEVICES, bind=False)
        devices.link_devices(root_fd)
        return sorted(os.listdir(root / "outside"))

    names = inside(work)
    assert set(NODES) | {"fd", "ptmx", "stdin", "stdout", "stderr"} <= set(names)  # type: ignore[call-overload]
    assert os.listdir(outside) == ["ptmx"]
    assert (outside / "ptmx").is_file()


def test_the_links_of_dev(root: Path) -> None:
    (root / "dev").mkdir()
    os.mknod(root / "dev" / "ptmx", stat.S_IFCHR | 0o600, os.makedev(5, 2))
    (root / "dev" / "fd").symlink_to("mine")

    def work() -> object:
        root_fd, _ = do(root)
        devices.link_devices(root_fd)
        return {name: os.readlink(root / "dev" / name) for name in os.listdir(root / "dev")}

    found = inside(work)
    expected = {"ptmx": "pts/ptmx", "fd": "mine"}
    expected |= {f"std{name}": f"/proc/self/fd/{n}" for n, name in enumerate(("in", "out", "err"))}
    if os.path.exists("/proc/kcore"):
        expected["core"] = "/proc/kcore"
    assert found == expected


# -- masked and read-only ----------------------------------------------------------------------


def hide(root: Path, masked: list[str], readonly: list[str], after_pivot: bool) -> Any:  # noqa: ANN401  # JSON
    def work() -> object:
        root_fd, _ = do(
            root,
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/ro/below", "type": "tmpfs", "source": "tmpfs"},
        )
        devices.make_devices(root_fd, DEVICES[:1], bind=False)
        prefix = str(root)
        if after_pivot:
            pivot.pivot(root_fd)
            root_fd = os.open("/", os.O_PATH)
            prefix = ""
        hidden.readonly_paths(root_fd, readonly)
        null_fd = hidden.open_null(root_fd)
        hidden.mask_paths(root_fd, masked, null_fd, "")
        found = mounts(prefix)
        with open(f"{prefix}/secret/file", "rb") as file:
            content = file.read().decode()
        return {
            "content": content,
            "listing": os.listdir(f"{prefix}/secret/dir"),
            "devices": sorted({found[p].device for p in ("/secret/dir", "/secret/other")}),
            "dir": sorted(found["/secret/dir"].options | {found["/secret/dir"].super_options}),
            "ro": sorted(found["/ro"].options),
            "below": sorted(found["/ro/below"].options),
            "proc": sorted(found["/proc/sys"].options),
            "missing": [place for place in found if "missing" in place],
        }

    return inside(work, CLONE_NEWPID)


@pytest.mark.parametrize("after_pivot", [False, True])
def test_masked_and_readonly_paths(root: Path, after_pivot: bool) -> None:
    for name in ("dir", "other"):
        (root / "secret" / name).mkdir(parents=True)
        (root / "secret" / name / "key").touch()
    (root / "secret" / "file").write_text("secret")
    (root / "ro").mkdir()
    masked = ["/secret/dir", "/secret/file", "/secret/other", "/missing/file", "/missing"]
    found = hide(root, masked, ["/ro", "/proc/sys", "/missing"], after_pivot)
    assert found["content"] == ""
    assert found["listing"] == []
    assert len(found["devices"]) == 1  # one tmpfs for all of them
    assert "ro" in found["dir"]
    assert "nr_inodes=1" in " ".join(found["dir"])
    assert "ro" in found["ro"]
    assert "rw" in found["below"]
    assert "ro" in found["proc"]
    assert found["missing"] == []


def test_a_false_null_is_refused(root: Path) -> None:
    """CVE-2025-31133."""
    (root / "dev").mkdir()
    for make in (
        lambda: (root / "dev" / "null").symlink_to("/proc/sys/kernel/core_pattern"),
        (root / "dev" / "null").touch,
        lambda: os.mknod(root / "dev" / "null", stat.S_IFCHR, os.makedev(1, 5)),
    ):
        make()
        with pytest.raises(Refused, match='"/dev/null" in the root is not the null device'):
            inside(lambda: hidden.open_null(do(root)[0]))
        (root / "dev" / "null").unlink()


# -- cgroups -----------------------------------------------------------------------------------


def v1_hierarchies() -> list[Hierarchy]:
    """The machine's v1 hierarchies with the cgroup this process is in."""
    own = {}
    with open("/proc/self/cgroup") as file:
        for line in file:
            _, names, path = line.rstrip("\n").split(":", 2)
            own[names] = path
    found = []
    for place, row in mounts().items():
        names = ",".join(
            word for word in row.super_options.split(",") if word in ",".join(own).split(",")
        )
        if row.fs_name == "cgroup" and names in own:
            path = place + own[names] if own[names] != "/" else place
            found.append(Hierarchy(tuple(names.split(",")), place, path))
    return found


@pytest.mark.parametrize("cgroupns", [False, True])
def test_the_hierarchies_of_v1(root: Path, cgroupns: bool) -> None:
    hierarchies = v1_hierarchies()
    if not hierarchies:
        pytest.skip("no cgroup v1 hierarchy")
    entry = {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
             "options": ["nosuid", "noexec", "nodev", "relatime", "ro"]}  # fmt: skip

    def work() -> object:
        view = CgroupView(hierarchies, unified=False)
        do(root, entry, cgroup=view, cgroupns=cgroupns)
        found = mounts(f"{root}/sys/fs/cgroup")
        with open("/proc/self/cgroup") as file:
            own = file.read()
        return {place: [*seen(row).values(), row.root] for place, row in found.items()}, own

    found, own = inside(work, CLONE_NEWCGROUP if cgroupns else 0)  # type: ignore[misc]
    quiet = {"nosuid", "noexec", "nodev", "relatime", "ro"}
    assert found["/"][1] == "tmpfs"
    assert len(found) == 1 + len(hierarchies)
    for place, (options, fs_name, *_, top) in found.items():
        assert set(options) == quiet
        if place != "/":
            assert fs_name == "cgroup"
            if cgroupns:
                assert top == "/"
            else:
                assert f":{top}\n" in own


def test_comounted_controllers_are_linked(root: Path) -> None:
    """No machine at hand mounts cpu and cpuacct together: a directory stands for the hierarchy."""
    host = root.parent / "host" / "cpu,cpuacct"
    (host / "own").mkdir(parents=True)
    (host / "own" / "tasks").touch()
    view = CgroupView([Hierarchy(("cpu", "cpuacct"), str(host), str(host / "own"))], unified=False)
    entry = {"destination": "/sys/fs/cgroup", "type": "cgroup", "options": ["ro"]}

    def work() -> object:
        do(root, entry, cgroup=view)
        top = root / "sys" / "fs" / "cgroup"
        return {name: os.listdir(top / name) for name in os.listdir(top)}, os.readlink(top / "cpu")

    assert inside(work) == [
        {"cpu,cpuacct": ["tasks"], "cpu": ["tasks"], "cpuacct": ["tasks"]},
        "cpu,cpuacct",
    ]


def unified_mount() -> str:
    for place, row in mounts().items():
        if row.fs_name == "cgroup2":
            return place
    pytest.skip("no cgroup v2 tree")


@pytest.mark.parametrize("cgroupns", [False, True])
def test_the_unified_tree(root: Path, cgroupns: bool) -> None:
    place = unified_mount()
    view = CgroupView([Hierarchy((), place, place)], unified=True)
    entry = {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
             "options": ["nosuid", "ro", "shared"]}  # fmt: skip
    more = CLONE_NEWCGROUP if cgroupns else 0
    found = mounted(
        root, entry, at="/sys/fs/cgroup", namespaces=more, cgroup=view, cgroupns=cgroupns
    )
    assert found["type"] == "cgroup2"
    assert {"ro", "nosuid"} < set(found["options"])
    assert found["optional"].startswith("shared:")


def test_the_unified_tree_in_a_user_namespace_is_never_writable(root: Path) -> None:
    """CVE-2023-25809: without a cgroup namespace it is the whole tree of the host."""
    place = unified_mount()
    entry = {"destination": "/sys/fs/cgroup", "type": "cgroup", "options": ["nosuid"]}
    for path, fs_name in ((place, "cgroup2"), ("/does/not/exist", "tmpfs")):
        view = CgroupView([Hierarchy((), path, path)], unified=True)

        def work(shown: CgroupView = view) -> object:
            do(root, entry, cgroup=shown, userns=True)
            row = mounts(str(root))["/sys/fs/cgroup"]
            return row.fs_name, "ro" in row.options

        assert inside(work, root_of_userns=True) == [fs_name, True]


# -- entering ----------------------------------------------------------------------------------


def entered(root: Path, enter: Callable[[int], None], propagation: str | None = None) -> Any:  # noqa: ANN401
    (root / "proc").mkdir()
    (root / "mark").touch()

    def work() -> object:
        shared = prepare.set_propagation(propagation)
        root_fd = prepare.attach_root(str(root), shared)
        context = MountContext("/")
        mount_entry(root_fd, {"destination": "/proc", "type": "proc"}, context)
        enter(root_fd)
        prepare.repropagate(propagation)
        found = mounts()
        return {
            "top": sorted(os.listdir("/")),
            "cwd": os.getcwd(),
            "up": sorted(os.listdir("/../..")),
            "optional": found["/"].optional,
            "places": sorted(found),
        }

    return inside(work, CLONE_NEWPID, propagate=False)


def test_pivot_leaves_nothing_of_the_old_root(root: Path) -> None:
    found = entered(root, pivot.pivot)
    assert found["top"] == found["up"] == ["mark", "proc"]
    assert found["cwd"] == "/"
    assert found["places"] == ["/", "/proc"]


def test_no_pivot_moves_the_root(root: Path) -> None:
    found = entered(root, pivot.move_root)
    assert found["top"] == found["up"] == ["mark", "proc"]
    assert found["cwd"] == "/"
    assert found["places"] == ["/", "/proc"]


def test_no_pivot_covers_the_hosts_proc_and_sysfs(root: Path) -> None:
    def work() -> object:
        root_fd, _ = do(root, {"destination": "/p", "type": "proc", "source": "proc"})
        pivot._cover_full_views(pivot.mount_id(root_fd))
        with open(f"{root}/p/self/mountinfo") as file:
            rows = [Mounted(line) for line in file.read().splitlines()]
        return [row.place for row in rows if row.fs_name in ("proc", "sysfs") and row.root == "/"]

    assert inside(work, CLONE_NEWPID) == [f"{root}/p"]


def test_chroot_alone(root: Path) -> None:
    (root / "mark").touch()

    def work() -> object:
        root_fd = os.open(root, os.O_PATH | os.O_DIRECTORY)
        pivot.chroot(root_fd)
        return os.getcwd(), os.listdir("/")

    assert inside(work) == ["/", ["mark"]]


@pytest.mark.parametrize(
    ("propagation", "optional"),
    [
        ("private", ""),
        ("rprivate", ""),
        ("slave", ""),
        ("rslave", ""),
        ("shared", "shared:"),
        ("rshared", "shared:"),
        ("unbindable", "unbindable"),
        ("runbindable", "unbindable"),
    ],
)
def test_every_rootfs_propagation(root: Path, propagation: str, optional: str) -> None:
    found = entered(root, pivot.pivot, propagation)
    assert found["optional"].startswith(optional)
    assert bool(found["optional"]) == bool(optional)


def test_an_unknown_propagation_is_refused(root: Path) -> None:
    with pytest.raises(Refused, match="rootfsPropagation=sideways is not supported"):
        entered(root, pivot.pivot, "sideways")


def test_nothing_reaches_a_shared_host(root: Path) -> None:
    """The rootfs lies on a shared mount: neither its bind nor what is in it shows outside."""
    from ocirun.kernel.mount import AT_FDCWD, AT_RECURSIVE, MS_SHARED, mount_setattr

    def host() -> object:
        mount_setattr(AT_FDCWD, "/", AT_RECURSIVE, propagation=MS_SHARED)
        before = sorted(mounts())
        for propagation in (None, "slave", "private", "shared", "rshared", "unbindable"):

            def container(wanted: str | None = propagation) -> object:
                shared = prepare.set_propagation(wanted)
                root_fd = prepare.attach_root(str(root), shared)
                mount_entry(root_fd, TMPFS, MountContext("/"))
                here = [place for place in mounts() if place.startswith(str(root))]
                pivot.pivot(root_fd)
                prepare.repropagate(wanted)
                return here

            assert inside(container, propagate=False) == [str(root), f"{root}/t"]
            assert sorted(mounts()) == before
        return True

    assert inside(host)


def test_a_readonly_root_keeps_its_other_attributes(root: Path) -> None:
    (root / "proc").mkdir()

    def work() -> object:
        origin = root.parent / "origin"
        origin.mkdir()
        (origin / "proc").mkdir()
        host_fd, _ = do(root.parent)
        entry = {"destination": "/root", "source": str(origin), "options": ["bind", "nosuid"]}
        mount_entry(host_fd, entry, MountContext("/"))
        root_fd = prepare.attach_root(str(root))
        mount_entry(root_fd, {"destination": "/proc", "type": "proc"}, MountContext("/"))
        pivot.pivot(root_fd)
        finalize.readonly_root()
        return sorted(mounts()["/"].options & {"ro", "nosuid"})

    assert inside(work, CLONE_NEWPID) == ["nosuid", "ro"]
