"""Device nodes and links: runtime-spec config-linux.md#devices, #default-devices."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Any

import pytest
from harness.inside import (
    DEVICES,
    NODES,
    Refused,
    do,
    inside,
    mounts,
)

from ocirun.rootfs import devices

if TYPE_CHECKING:
    from pathlib import Path


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
    with pytest.raises(Refused, match="something else is at that path on the host"):
        made_devices(root, [wrong], bind=True)
    wrong["path"] = "/dev/nowhere"
    with pytest.raises(Refused, match="no such file or directory on the host"):
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
