"""Id-mapped mounts: other owners inside than on the host.

Source: runtime-spec config.md#mounts; docs/runc-compat/mounts.md#id-mapped-mounts;
mount_setattr(2).
"""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from harness.box import Box
from harness.bundle import Bundle
from harness.machine import MNT_DETACH, libc_call
from harness.peers import peer_deviates

OLD_RUNC = peer_deviates("runc", "1.1 does not know id-mapped mounts", sometimes=True)
CONTAINER = (0, 100000, 65536)
OVERFLOW = "65534:65534"


def maps(*entries: tuple[int, int, int]) -> list[dict[str, int]]:
    return [{"containerID": i, "hostID": o, "size": n} for i, o, n in entries]


@pytest.fixture
def source(box: Box) -> Path:
    """A folder with files of several owners."""
    folder = box.folder / "source"
    folder.mkdir()
    for name, uid, gid in (("root", 0, 0), ("user", 1000, 1001), ("far", 70000, 70000)):
        (folder / name).write_text(name)
        os.chown(folder / name, uid, gid)
    return folder


@pytest.fixture
def mounted_below(source: Path) -> Generator[Path, None, None]:
    """A tmpfs below the source, with a file of root in it."""
    (source / "below").mkdir()
    libc_call("mount", b"tmpfs", os.fsencode(source / "below"), b"tmpfs", 0, None)
    (source / "below/root").write_text("x")
    yield source
    libc_call("umount2", os.fsencode(source / "below"), MNT_DETACH)


def mount(
    bundle: Bundle,
    source: Path,
    *options: str,
    uids: list[tuple[int, int, int]] | None = None,
    gids: list[tuple[int, int, int]] | None = None,
) -> Bundle:
    entry: dict[str, Any] = {"destination": "/data", "source": str(source)}
    entry["options"] = list(options or ("bind",))
    if uids:
        entry["uidMappings"] = maps(*uids)
        entry["gidMappings"] = maps(*(gids or uids))
    bundle.mounts.append(entry)
    return bundle


def owners(box: Box, bundle: Bundle, *names: str) -> list[str]:
    paths = [f"/data/{name}" for name in names or ("root", "user", "far")]
    bundle.process["args"] = ["stat", "-c", "%u:%g", *paths]
    return box.output(bundle).split()


@OLD_RUNC
class TestMapping:
    """Where the mapping comes from."""

    def test_of_the_mount(self, each_way: Box, source: Path) -> None:
        bundle = mount(each_way.bundle(), source, uids=[(0, 5000, 1), (1000, 6000, 10)])
        assert owners(each_way, bundle) == ["5000:5000", "6000:6001", OVERFLOW]

    @peer_deviates("crun", "1.8 is before the option", sometimes=True)
    def test_of_cruns_option(self, each_way: Box, source: Path) -> None:
        option = "idmap=uids=0-5000-1#1000-6000-10;gids=0-7000-2000"
        bundle = mount(each_way.bundle(), source, "bind", option)
        assert owners(each_way, bundle, "root", "user") == ["5000:7000", "6000:8001"]

    @peer_deviates("crun", "1.8 is before the option", sometimes=True)
    def test_of_cruns_option_relative_to_the_user_namespace(
        self, each_way: Box, source: Path
    ) -> None:
        bundle = each_way.bundle()
        bundle.use_userns(CONTAINER)
        mount(bundle, source, "bind", "idmap=uids=@0-500-2000;gids=@0-600-2000")
        assert owners(each_way, bundle, "root", "user") == ["500:600", "1500:1601"]

    def test_uids_and_gids_apart(self, each_way: Box, source: Path) -> None:
        bundle = mount(
            each_way.bundle(), source, "bind", "idmap", uids=[(0, 10, 2000)], gids=[(0, 20, 2000)]
        )
        assert owners(each_way, bundle, "root", "user") == ["10:20", "1010:1021"]

    def test_of_the_container(self, each_way: Box, source: Path) -> None:
        """What is root's on the host is root's inside."""
        bundle = each_way.bundle()
        bundle.use_userns(CONTAINER)
        mount(bundle, source, "bind", "idmap")
        assert owners(each_way, bundle) == ["0:0", "1000:1001", OVERFLOW]

    def test_of_the_namespace_the_container_joins(self, each_way: Box, source: Path) -> None:
        first = each_way.bundle("/probe", "wait")
        first.use_userns(CONTAINER)
        other = each_way.running(first)
        bundle = each_way.bundle()
        bundle.use_userns(CONTAINER)
        bundle.set_namespace("user", f"/proc/{other.pid}/ns/user")
        mount(bundle, source, "bind", "idmap")
        assert owners(each_way, bundle) == ["0:0", "1000:1001", OVERFLOW]

    def test_of_the_mount_in_a_user_namespace(self, each_way: Box, source: Path) -> None:
        bundle = each_way.bundle()
        bundle.use_userns(CONTAINER)
        mount(bundle, source, uids=[(0, 100500, 1)])
        assert owners(each_way, bundle) == ["500:500", OVERFLOW, OVERFLOW]

    def test_without_one_a_user_namespace_sees_strangers(self, each_way: Box, source: Path) -> None:
        bundle = each_way.bundle()
        bundle.use_userns(CONTAINER)
        mount(bundle, source)
        assert owners(each_way, bundle, "root", "user") == [OVERFLOW] * 2


@OLD_RUNC
@peer_deviates("crun", "1.8 leaves out what is mounted below", sometimes=True)
class TestReach:
    """Which mounts of the source are mapped."""

    def read(self, box: Box, source: Path, *options: str) -> list[str]:
        bundle = mount(box.bundle(), source, *options, uids=[(0, 5000, 10)])
        return owners(box, bundle, "root", "below/root")

    def test_idmap_is_for_the_source_alone(self, box: Box, mounted_below: Path) -> None:
        assert self.read(box, mounted_below, "rbind", "idmap") == ["5000:5000", "0:0"]

    def test_so_is_a_mapping_without_a_word(self, box: Box, mounted_below: Path) -> None:
        assert self.read(box, mounted_below, "rbind") == ["5000:5000", "0:0"]

    def test_ridmap_is_for_all_below(self, box: Box, mounted_below: Path) -> None:
        assert self.read(box, mounted_below, "rbind", "ridmap") == ["5000:5000"] * 2

    def test_a_file_can_be_id_mapped(self, box: Box, source: Path) -> None:
        bundle = mount(box.bundle(), source / "user", uids=[(1000, 7000, 10)])
        bundle.process["args"] = ["stat", "-c", "%u:%g", "/data"]
        assert box.output(bundle) == "7000:7001\n"

    def test_each_mount_has_its_own_mapping(self, box: Box, source: Path) -> None:
        """Two share a mapping, one has its own."""
        bundle = box.bundle()
        for place, host in (("/a", 5000), ("/b", 5000), ("/c", 6000)):
            mount(bundle, source, uids=[(0, host, 1)])
            bundle.mounts[-1]["destination"] = place
        bundle.process["args"] = ["stat", "-c", "%u", "/a/root", "/b/root", "/c/root"]
        assert box.output(bundle).split() == ["5000", "5000", "6000"]


@OLD_RUNC
class TestWriting:
    """Back through the mapping."""

    def test_files_of_root_inside_are_files_of_root_outside(
        self, each_way: Box, source: Path
    ) -> None:
        bundle = each_way.bundle("sh", "-c", "echo > /data/new; chown 5:6 /data/root")
        bundle.use_userns(CONTAINER)
        bundle.process["capabilities"] = {
            name: ["CAP_CHOWN", "CAP_DAC_OVERRIDE"]
            for name in ("bounding", "effective", "permitted")
        }
        mount(bundle, source, "bind", "idmap")
        each_way.container(bundle).run().ok()
        new, root = (source / "new").stat(), (source / "root").stat()
        assert (new.st_uid, new.st_gid) == (0, 0)
        assert (root.st_uid, root.st_gid) == (5, 6)

    def test_the_hosts_files_keep_their_owners(self, each_way: Box, source: Path) -> None:
        owners(each_way, mount(each_way.bundle(), source, uids=[(0, 5000, 1)]))
        assert (source / "root").stat().st_uid == 0

    def test_a_read_only_mount_is_not_writable(self, box: Box, source: Path) -> None:
        bundle = mount(box.bundle(), source, "bind", "ro", uids=[(0, 0, 65536)])
        assert box.attempts(bundle, "create:/data/x") != [0]
        assert not (source / "x").exists()

    def test_a_closed_folder(self, box: Box, source: Path) -> None:
        """The parent opens it, who may; with the mapping the container's root may as well."""
        source.chmod(0o700)
        bundle = box.bundle()
        bundle.use_userns(CONTAINER)
        mount(bundle, source, "bind", "idmap")
        assert owners(box, bundle, "root") == ["0:0"]


class TestRefusals:
    """What cannot be is said, and nothing is left."""

    @peer_deviates("runc", "1.1 ignores mappings")
    @peer_deviates("crun", "takes it", sometimes=True)
    @pytest.mark.parametrize("member", ["uidMappings", "gidMappings"])
    def test_half_a_mapping(self, box: Box, source: Path, member: str) -> None:
        bundle = mount(box.bundle(), source, uids=[(0, 5000, 1)])
        del bundle.mounts[-1][member]
        box.container(bundle).create().failed("both")

    @OLD_RUNC
    def test_the_word_without_any_mapping(self, box: Box, source: Path) -> None:
        box.container(mount(box.bundle(), source, "bind", "idmap")).create().failed()

    @peer_deviates("runc", "1.1 ignores mappings")
    @peer_deviates("crun", "maps every file system", sometimes=True)
    def test_not_a_bind_mount(self, box: Box) -> None:
        bundle = box.bundle()
        bundle.add_mount("/data", "tmpfs", "tmpfs")
        bundle.mounts[-1] |= {"uidMappings": maps(CONTAINER), "gidMappings": maps(CONTAINER)}
        box.container(bundle).create().failed("bind")

    @peer_deviates("runc", "1.1 ignores mappings")
    @pytest.mark.parametrize("kind", ["proc", "overlay"])
    def test_a_file_system_that_cannot(self, each_way: Box, source: Path, kind: str) -> None:
        place = each_way.folder / "place"
        place.mkdir()
        (each_way.folder / "empty").mkdir()
        data = f"lowerdir={source}:{each_way.folder}/empty" if kind == "overlay" else ""
        libc_call("mount", b"x", os.fsencode(place), kind.encode(), 0, os.fsencode(data))
        try:
            bundle = mount(each_way.bundle(), place, uids=[(0, 5000, 1)])
            each_way.container(bundle).create().failed()
        finally:
            libc_call("umount2", os.fsencode(place), MNT_DETACH)

    @peer_deviates("runc", "1.1 ignores mappings")
    def test_maps_that_overlap(self, each_way: Box, source: Path) -> None:
        bundle = mount(each_way.bundle(), source, uids=[(0, 5000, 10), (5, 9000, 10)])
        each_way.container(bundle).create().failed()
