"""Where the root may be, and what crosses its border in either direction.

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
from harness.bundle import Bundle
from harness.machine import MNT_DETACH, libc_call
from harness.mountinfo import mount_at
from harness.needs import needs
from harness.peers import peer_deviates
from harness.runtime import wait_until

MS_SHARED = 1 << 20
NO_UNBINDABLE = peer_deviates("runc", "1.1 makes the root unbindable and then binds it")
MAY_MOUNT = {name: ["CAP_SYS_ADMIN"] for name in ("bounding", "effective", "permitted")}


@pytest.fixture
def shared(box: Box) -> Generator[Path, None, None]:
    """A shared tmpfs of the host with folders to mount on."""
    place = box.folder / "shared"
    place.mkdir()
    libc_call("mount", b"tmpfs", os.fsencode(place), b"tmpfs", 0, None)
    libc_call("mount", None, os.fsencode(place), None, MS_SHARED, None)
    for name in ("from-host", "from-container"):
        (place / name).mkdir()
    yield place
    for name in ("from-host", "from-container"):
        try:
            libc_call("umount2", os.fsencode(place / name), MNT_DETACH)
        except OSError:
            continue
    libc_call("umount2", os.fsencode(place), MNT_DETACH)


def mounted(place: Path) -> bool:
    return f" {place} " in Path("/proc/self/mountinfo").read_text()


def crossings(box: Box, shared: Path, word: str, *options: str) -> tuple[bool, bool]:
    """Whether a mount crosses (from the host to the container, the other way round)."""
    script = "echo ready; read x; ls /data/from-host; mount -t tmpfs t /data/from-container; echo !"
    bundle = box.bundle("sh", "-c", f"{script}; read x")
    bundle.process["capabilities"] = MAY_MOUNT
    bundle.linux["rootfsPropagation"] = word
    bundle.add_mount("/data", "bind", str(shared), "rbind", *options)
    reading, writing = os.pipe()
    container = box.container(bundle)
    created = container.create(stdin=reading)
    os.close(reading)
    if created.status:
        os.close(writing)
    created.ok()
    container.start().ok()
    container.wait_output("ready")
    libc_call("mount", b"tmpfs", os.fsencode(shared / "from-host"), b"tmpfs", 0, None)
    (shared / "from-host/late").touch()
    os.write(writing, b"go\n")
    said = container.wait_output("!")
    result = "late" in said, mounted(shared / "from-container")
    os.close(writing)
    container.wait_status("stopped")
    return result


class TestCrossing:
    """rootfsPropagation and the option of a volume, observed from both sides."""

    @pytest.mark.parametrize(
        ("word", "option", "inwards", "outwards"),
        [
            ("rslave", "rslave", True, False),
            ("rslave", "rshared", True, False),
            ("rslave", "rprivate", False, False),
            ("rshared", "rshared", True, True),
            ("rshared", "rslave", True, False),
            ("rshared", "rprivate", False, False),
            ("shared", "shared", True, True),
            ("slave", "shared", True, True),
            ("slave", "rslave", True, False),
            ("rprivate", "rprivate", False, False),
            ("private", "rslave", True, False),
            pytest.param("unbindable", "rslave", True, False, marks=NO_UNBINDABLE),
            pytest.param("runbindable", "rprivate", False, False, marks=NO_UNBINDABLE),
        ],
    )
    def test_mounts_propagate_as_the_volume_says(
        self, box: Box, shared: Path, *, word: str, option: str, inwards: bool, outwards: bool
    ) -> None:
        assert crossings(box, shared, word, option) == (inwards, outwards)

    @pytest.mark.parametrize("word", ["shared", "rshared", "slave", "rslave", "private", None])
    def test_what_is_mounted_in_the_root_stays_inside(
        self, box: Box, shared: Path, word: str | None
    ) -> None:
        """Even when the root lies on a shared mount."""
        bundle = box.bundle("sh", "-c", "mount -t tmpfs t /tmp && echo ready; read x")
        bundle.process["capabilities"] = MAY_MOUNT
        shutil.move(bundle.rootfs, shared / "rootfs")
        bundle.config["root"]["path"] = str(shared / "rootfs")
        if word:
            bundle.linux["rootfsPropagation"] = word
        reading, writing = os.pipe()
        container = box.container(bundle)
        container.create(stdin=reading).ok()
        container.start().ok()
        container.wait_output("ready")
        below = [
            line for line in Path("/proc/self/mountinfo").read_text().splitlines()
            if f"{shared}/rootfs" in line
        ]  # fmt: skip
        os.close(writing)
        os.close(reading)
        container.wait_status("stopped")
        assert below == []

    @peer_deviates("runc", "1.1 applies it before the pivot only")
    def test_an_unbindable_root_cannot_be_bound(self, box: Box) -> None:
        bundle = box.bundle("sh", "-c", "mount -o bind / /tmp; echo $?")
        bundle.process["capabilities"] = MAY_MOUNT
        bundle.linux["rootfsPropagation"] = "unbindable"
        assert box.output(bundle).strip() != "0"


def at(bundle: Bundle, place: Path) -> Bundle:
    bundle.config["root"]["path"] = str(place)
    return bundle


class TestPlaces:
    """File systems and paths."""

    @pytest.fixture
    def tmpfs(self, box: Box) -> Generator[Path, None, None]:
        place = box.folder / "tmpfs"
        place.mkdir()
        libc_call("mount", b"tmpfs", os.fsencode(place), b"tmpfs", 0, None)
        yield place
        libc_call("umount2", os.fsencode(place), MNT_DETACH)

    @pytest.fixture
    def overlay(self, box: Box) -> Generator[Path, None, None]:
        lower = box.bundle().rootfs
        for name in ("upper", "work", "merged"):
            (box.folder / name).mkdir()
        data = f"lowerdir={lower},upperdir={box.folder}/upper,workdir={box.folder}/work"
        place = box.folder / "merged"
        libc_call("mount", b"o", os.fsencode(place), b"overlay", 0, os.fsencode(data))
        yield place
        libc_call("umount2", os.fsencode(place), MNT_DETACH)

    @pytest.mark.parametrize("way", ["pivot", "no pivot"])
    def test_the_root_of_a_tmpfs(self, box: Box, tmpfs: Path, way: str) -> None:
        bundle = box.bundle()
        shutil.copytree(bundle.rootfs, tmpfs, symlinks=True, dirs_exist_ok=True)
        flags = ["--no-pivot"] if way == "no pivot" else []
        report = box.container(at(bundle, tmpfs)).run(*flags).ok().json()
        assert mount_at(report, "/").kind == "tmpfs"

    @pytest.mark.parametrize("readonly", [False, True])
    def test_an_overlay_can_be_the_root(self, box: Box, overlay: Path, *, readonly: bool) -> None:
        bundle = at(box.bundle(), overlay)
        bundle.config["root"]["readonly"] = readonly
        bundle.process["args"] = ["/probe"]
        assert mount_at(box.report(bundle), "/").kind == "overlay"
        assert box.attempts(bundle, "create:/x") == [errno.EROFS if readonly else 0]
        assert (box.folder / "upper/x").exists() is not readonly

    def test_an_overlay_in_a_user_namespace(self, box: Box, overlay: Path) -> None:
        bundle = box.bundle()
        bundle.use_userns((0, 100000, 65536))
        assert box.report(at(bundle, overlay))["uids"] == [0, 0, 0]

    def test_mounts_below_it_come_along(self, box: Box, tmpfs: Path) -> None:
        bundle = box.bundle("ls", "/tmp")
        (tmpfs / "here").touch()
        libc_call("mount", os.fsencode(tmpfs), os.fsencode(bundle.rootfs / "tmp"), None, 4096, None)
        try:
            assert box.output(bundle) == "here\n"
        finally:
            libc_call("umount2", os.fsencode(bundle.rootfs / "tmp"), MNT_DETACH)

    @needs("ours")
    def test_a_symbolic_link_is_resolved(self, box: Box) -> None:
        bundle = box.bundle()
        (bundle.path / "link").symlink_to("rootfs")
        bundle.config["root"]["path"] = "link"
        container = box.created(bundle)
        assert container.state()["rootfs"] == str(bundle.rootfs)

    @pytest.mark.parametrize("path", ["missing", "config.json"])
    def test_no_directory_is_refused(self, box: Box, path: str) -> None:
        bundle = box.bundle()
        bundle.config["root"]["path"] = path
        box.container(bundle).create().failed()


class TestChroot:
    """Without a mount namespace: the root is entered, and nothing is mounted."""

    def bundle(self, box: Box, *args: str) -> Bundle:
        bundle = box.bundle(*args)
        bundle.drop_namespace("mount")
        bundle.config["mounts"] = []
        return bundle

    @peer_deviates("runc", "1.1 needs /proc inside and leaves a mount")
    def test_there_is_no_way_out(self, box: Box) -> None:
        bundle = self.bundle(box, "ls", "/", "/..", "/../..")
        said = box.output(bundle).split()
        assert said.count("probe") == 3

    @peer_deviates("runc", "1.1 needs /proc inside and leaves a mount")
    def test_the_hosts_mounts_stay_as_they_are(self, box: Box) -> None:
        assert box.attempts(self.bundle(box), "create:/x") == [0]
        after = Path("/proc/self/mountinfo").read_text()
        assert [line for line in after.splitlines() if str(box.folder) in line] == []

    @needs("ours")
    @pytest.mark.parametrize("what", ["readonly", "mounts"])
    def test_what_needs_a_mount_namespace_is_refused(self, box: Box, what: str) -> None:
        bundle = self.bundle(box)
        if what == "readonly":
            bundle.config["root"]["readonly"] = True
        else:
            bundle.add_mount("/proc", "proc", "proc")
        before = Path("/proc/self/mountinfo").read_text().count(str(box.folder))
        box.container(bundle).create().failed("mount namespace")
        assert Path("/proc/self/mountinfo").read_text().count(str(box.folder)) == before


class TestNoPivot:
    """--no-pivot, for a root on the initial ramdisk."""

    def test_a_read_only_root(self, box: Box) -> None:
        bundle = box.bundle("/probe", "try", "create:/x", "mkdir:/tmp/x")
        bundle.config["root"]["readonly"] = True
        result = box.container(bundle).run("--no-pivot").ok().json()
        assert [entry["errno"] for entry in result] == [errno.EROFS] * 2

    def test_a_user_namespace(self, box: Box) -> None:
        bundle = box.bundle()
        bundle.use_userns((0, 100000, 65536))
        assert box.container(bundle).run("--no-pivot").ok().json()["uids"] == [0, 0, 0]

    def test_nothing_reaches_the_host(self, box: Box) -> None:
        box.container(box.bundle("/probe", "wait")).create("--no-pivot").ok()
        wait_until(lambda: not mounted(box.folder / "bundle1/rootfs"), "no mount on the host")
