"""The root: read-only, its propagation, how it is entered.

Source: runtime-spec config.md#root, config-linux.md#rootfs-mount-propagation;
docs/runc-compat/mounts.md#root-and-propagation.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Generator
from pathlib import Path

import pytest
from harness.box import Box
from harness.machine import MNT_DETACH, libc_call
from harness.mountinfo import mount_at
from harness.peers import peer_deviates

MS_BIND = 4096
MS_PRIVATE, MS_SLAVE, MS_SHARED = 1 << 18, 1 << 19, 1 << 20
BEFORE_PIVOT_ONLY = peer_deviates("runc", "1.1 applies it before the pivot only")


class TestReadonly:
    """root.readonly."""

    def test_it_refuses_writes(self, box: Box) -> None:
        bundle = box.bundle()
        bundle.config["root"]["readonly"] = True
        calls = box.attempts(bundle, "create:/x", "mkdir:/tmp/x", "write:/etc/passwd")
        assert calls == [errno.EROFS] * 3
        assert not (bundle.rootfs / "x").exists()

    def test_mounts_on_it_stay_writable(self, box: Box) -> None:
        bundle = box.bundle()
        bundle.config["root"]["readonly"] = True
        bundle.add_mount("/tmp", "tmpfs", "tmpfs")
        assert box.attempts(bundle, "create:/tmp/x", "create:/dev/x") == [0, 0]

    def test_it_is_writable_otherwise(self, box: Box) -> None:
        bundle = box.bundle()
        assert box.attempts(bundle, "create:/x") == [0]
        assert (bundle.rootfs / "x").exists()

    def test_the_hosts_folder_stays_writable(self, box: Box) -> None:
        bundle = box.bundle("/probe", "wait")
        bundle.config["root"]["readonly"] = True
        container = box.running(bundle)
        (bundle.rootfs / "from-outside").touch()
        container.stop()


class TestInherited:
    """What the root's own mount is before decides with what it becomes; as on runc."""

    @pytest.fixture
    def place(self, box: Box, request: pytest.FixtureRequest) -> Generator[Path, None, None]:
        """A tmpfs of the host that is shared, a slave, or private."""
        folder, peer = box.folder / "place", box.folder / "peer"
        for path in (folder, peer):
            path.mkdir()
        libc_call("mount", b"tmpfs", os.fsencode(folder), b"tmpfs", 0, None)
        libc_call("mount", None, os.fsencode(folder), None, MS_PRIVATE, None)
        if request.param != "private":
            libc_call("mount", None, os.fsencode(folder), None, MS_SHARED, None)
        if request.param == "slave":
            libc_call("mount", os.fsencode(folder), os.fsencode(peer), None, MS_BIND, None)
            libc_call("mount", None, os.fsencode(folder), None, MS_SLAVE, None)
        yield folder
        libc_call("umount2", os.fsencode(folder), MNT_DETACH)
        if request.param == "slave":
            libc_call("umount2", os.fsencode(peer), MNT_DETACH)

    @pytest.mark.parametrize(
        ("place", "word", "tag"),
        [
            ("shared", None, "master"),
            ("shared", "rslave", "master"),
            ("shared", "slave", None),
            ("shared", "private", None),
            ("shared", "rprivate", None),
            ("slave", None, "master"),
            ("slave", "slave", "master"),
            ("slave", "rslave", "master"),
            ("slave", "private", "master"),
            ("slave", "rprivate", None),
            ("private", None, None),
            ("private", "slave", None),
            ("private", "rslave", None),
            pytest.param("shared", "shared", "shared", marks=BEFORE_PIVOT_ONLY),
            pytest.param("slave", "shared", "shared", marks=BEFORE_PIVOT_ONLY),
            pytest.param("slave", "unbindable", "unbindable", marks=BEFORE_PIVOT_ONLY),
        ],
        indirect=["place"],
    )
    def test_the_root_becomes(
        self, box: Box, place: Path, *, word: str | None, tag: str | None
    ) -> None:
        bundle = box.bundle()
        shutil.move(bundle.rootfs, place / "rootfs")
        bundle.config["root"]["path"] = str(place / "rootfs")
        if word:
            bundle.linux["rootfsPropagation"] = word
        tags = mount_at(box.report(bundle), "/").tags
        assert [found.partition(":")[0] for found in tags][:1] == ([tag] if tag else [])


class TestPropagation:
    """linux.rootfsPropagation."""

    @pytest.mark.parametrize(
        ("word", "tag"),
        [
            ("private", None),
            ("rprivate", None),
            pytest.param("shared", "shared:", marks=BEFORE_PIVOT_ONLY),
            pytest.param("rshared", "shared:", marks=BEFORE_PIVOT_ONLY),
            pytest.param("unbindable", "unbindable", marks=BEFORE_PIVOT_ONLY),
        ],
    )
    def test_the_root_gets_it(self, box: Box, word: str, tag: str | None) -> None:
        bundle = box.bundle()
        bundle.linux["rootfsPropagation"] = word
        tags = mount_at(box.report(bundle), "/").tags
        if tag is None:
            assert tags == []
        else:
            assert any(found.startswith(tag) for found in tags), tags

    @pytest.mark.parametrize("word", ["slave", "rslave", "", None])
    def test_slave_is_the_default(self, box: Box, word: str | None) -> None:
        bundle = box.bundle()
        if word is not None:
            bundle.linux["rootfsPropagation"] = word
        tags = mount_at(box.report(bundle), "/").tags
        assert not any(tag.startswith(("shared:", "unbindable")) for tag in tags)

    def test_an_unknown_word_is_refused(self, box: Box) -> None:
        bundle = box.bundle()
        bundle.linux["rootfsPropagation"] = "sideways"
        box.container(bundle).create().failed("sideways")

    def test_a_root_on_a_shared_mount_works_and_leaks_nothing(self, box: Box) -> None:
        """pivot_root(2) refuses a shared parent; the mount is made private in the container."""
        shared = box.folder / "shared"
        shared.mkdir()
        libc_call("mount", b"tmpfs", os.fsencode(shared), b"tmpfs", 0, None)
        libc_call("mount", None, os.fsencode(shared), None, MS_SHARED, None)
        try:
            bundle = box.bundle("true")
            bundle.path.rename(shared / "bundle")
        except OSError:  # another filesystem: copy
            shutil.copytree(bundle.path, shared / "bundle", symlinks=True)
        try:
            bundle.path = shared / "bundle"
            bundle.rootfs = shared / "bundle/rootfs"
            box.container(bundle).run().ok()
            with open("/proc/self/mountinfo") as mounts:
                below = [line for line in mounts if f"{shared}/" in line]
            assert below == []
        finally:
            libc_call("umount2", os.fsencode(shared), MNT_DETACH)

    @pytest.mark.parametrize(("word", "arrives"), [("rslave", True), ("rprivate", False)])
    def test_a_mount_of_the_host_arrives_through_a_slave(
        self, box: Box, *, word: str, arrives: bool
    ) -> None:
        shared = box.folder / "shared"
        (shared / "sub").mkdir(parents=True)
        libc_call("mount", b"tmpfs", os.fsencode(shared), b"tmpfs", 0, None)
        libc_call("mount", None, os.fsencode(shared), None, MS_SHARED, None)
        (shared / "sub").mkdir()
        try:
            bundle = box.bundle("sh", "-c", "echo ready; read x; ls /data/sub")
            bundle.linux["rootfsPropagation"] = word
            bundle.add_mount("/data", "bind", str(shared), "rbind", word)
            read, write = os.pipe()
            container = box.container(bundle)
            container.create(stdin=read).ok()
            os.close(read)
            container.start().ok()
            container.wait_output("ready")
            libc_call("mount", b"tmpfs", os.fsencode(shared / "sub"), b"tmpfs", 0, None)
            (shared / "sub/late").touch()
            os.write(write, b"go\n")
            os.close(write)
            container.wait_status("stopped")
            assert ("late" in container.output) is arrives
        finally:
            libc_call("umount2", os.fsencode(shared), MNT_DETACH)


class TestEntering:
    """pivot_root, or what --no-pivot does instead."""

    def test_no_pivot_enters_the_root(self, box: Box) -> None:
        bundle = box.bundle("ls", "/")
        run = box.container(bundle).run("--no-pivot").ok()
        assert {"probe", "bin", "proc"} <= set(run.stdout.split())

    def test_no_pivot_leaves_no_way_to_the_host(self, box: Box) -> None:
        bundle = box.bundle("ls", "/..", "/proc/1/root/..")
        run = box.container(bundle).run("--no-pivot").ok()
        assert "lost+found" not in run.stdout.split()
        assert set(run.stdout.split()) >= {"probe"}

    def test_the_working_directory_of_process_one_is_the_root(self, box: Box) -> None:
        container = box.running()
        inside = os.stat(f"/proc/{container.pid}/cwd")
        root = container.bundle.rootfs.stat()
        assert (inside.st_ino, inside.st_dev) == (root.st_ino, root.st_dev)
