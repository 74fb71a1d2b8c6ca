"""config-linux.md#allowed-device-list on the real kernel: programs on a cgroup of the v2 tree.

They need no controller, so the bare v2 tree of a hybrid host is as good as a v2 host.
"""

from __future__ import annotations

import errno
import os
import stat
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from harness.cgroups import NOTHING, V2_MOUNT, Child

from ocirun.cgroups.choose import new_cgroup
from ocirun.cgroups.paths import Table
from ocirun.cgroups.v2 import devices as v2_devices
from ocirun.cgroups.v2.devicefilter import program_of
from ocirun.errors import SetupError
from ocirun.kernel import bpf

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ocirun.cgroups.cgroup import Cgroup

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make cgroups"),
    pytest.mark.skipif(V2_MOUNT is None, reason="no cgroup v2 tree is mounted"),
]


@pytest.fixture
def cgroup() -> Iterator[Cgroup]:
    """An empty cgroup of the v2 tree; a part of that passes for a host that has only v2."""
    assert V2_MOUNT is not None
    name = f"ocirun-dev-{os.getpid()}"
    top = f"{V2_MOUNT.point}/{name}"
    os.mkdir(top)
    line = f"41 31 0:38 /{name} {top} rw - cgroup2 cgroup2 rw"
    made = new_cgroup("", "web", "cgroupfs", table=Table(line, f"0::/{name}/own"))
    made.prepare({})
    yield made
    made.kill_all()
    made.remove()
    os.rmdir(top)


@pytest.fixture
def devices() -> Iterator[Path]:
    """A folder whose device nodes can be opened: Debian 13 mounts /tmp with nodev."""
    with tempfile.TemporaryDirectory(prefix="ocirun-dev-", dir="/var/tmp") as folder:
        yield Path(folder)


def open_nodes(folder: Path, nodes: dict[str, tuple[int, int, int]], flags: int) -> dict[str, str]:
    """Try each node of (type, major, minor), made beforehand."""
    results = {}
    for node in nodes:
        try:
            os.close(os.open(folder / node, flags | os.O_NONBLOCK))
            results[node] = "opened"
        except OSError as error:
            results[node] = errno.errorcode[error.errno or 0]
    return results


def test_only_listed_devices_open(cgroup: Cgroup, devices: Path) -> None:
    nodes = {
        "null": (stat.S_IFCHR, 1, 3),
        "zero": (stat.S_IFCHR, 1, 5),
        "kmsg": (stat.S_IFCHR, 1, 11),
        "ram": (stat.S_IFBLK, 1, 3),  # the numbers of null, but not its type
    }
    for node, (kind, major, minor) in nodes.items():
        os.mknod(devices / node, 0o666 | kind, os.makedev(major, minor))

    def told(rules: list[dict[str, Any]], flags: int = os.O_RDONLY) -> dict[str, str]:
        cgroup.apply({"devices": rules})
        child = Child(lambda: open_nodes(devices, nodes, flags))
        cgroup.join(child.pid)
        result: dict[str, str] = child.result()
        return result

    before = told([{"allow": True}])
    assert before["ram"] in ("opened", "ENXIO")  # the node's driver is not there, or it is
    denied = {"null": "opened", "zero": "opened", "kmsg": "EPERM", "ram": "EPERM"}
    assert told(NOTHING) == denied
    assert told([]) == denied
    kmsg = {"allow": True, "type": "c", "major": 1, "minor": 11}
    readable = [*NOTHING, {**kmsg, "access": "r"}]
    assert told(readable) == {**denied, "kmsg": "opened"}
    assert told(readable, os.O_RDWR)["kmsg"] == "EPERM"
    hole = [{"allow": True}, {**kmsg, "allow": False, "access": "w"}]
    assert told(hole) == before
    assert told(hole, os.O_RDWR)["kmsg"] == "EPERM"
    assert told([{"allow": True}]) == before


def test_making_nodes_is_allowed_and_can_be_forbidden(cgroup: Cgroup, tmp_path: Path) -> None:
    def make() -> str:
        try:
            os.mknod(tmp_path / "node", 0o666 | stat.S_IFCHR, os.makedev(4, 64))
        except OSError as error:
            return errno.errorcode[error.errno or 0]
        return "made"

    for implied, result in ((None, "made"), ([], "EPERM")):
        (tmp_path / "node").unlink(missing_ok=True)
        cgroup.apply({"devices": NOTHING}, implied=implied)
        child = Child(make)
        cgroup.join(child.pid)
        assert child.result() == result


def test_one_program_stays_whatever_is_applied(cgroup: Cgroup) -> None:
    fds_before = len(os.listdir("/proc/self/fd"))
    kind = bpf.BPF_CGROUP_DEVICE
    directory_fd = cgroup.cgroup_fd()
    assert directory_fd is not None
    seen = []
    for _ in range(3):
        cgroup.apply({"devices": NOTHING})
        seen += bpf.prog_query(directory_fd, kind)
    cgroup.update({"devices": []})
    assert bpf.prog_query(directory_fd, kind) == seen[2:]
    assert len(set(seen)) == 3
    # As a manager might have left it: several programs on a directory that was there already.
    program = program_of(NOTHING)
    assert program is not None
    for _ in range(2):
        fd = bpf.prog_load(bpf.BPF_PROG_TYPE_CGROUP_DEVICE, program, "Apache-2.0", "test")
        bpf.prog_attach(directory_fd, fd, kind, bpf.BPF_F_ALLOW_MULTI)
        os.close(fd)
    assert len(bpf.prog_query(directory_fd, kind)) == 3
    cgroup.apply({"devices": NOTHING})
    (last,) = bpf.prog_query(directory_fd, kind)
    assert last not in seen
    os.close(directory_fd)
    assert len(os.listdir("/proc/self/fd")) == fds_before
    cgroup.remove()
    deadline = time.monotonic() + 5
    while program_exists(last) and time.monotonic() < deadline:
        time.sleep(0.01)  # the kernel lets go of it a moment after the cgroup
    assert not program_exists(last)


def program_exists(number: int) -> bool:
    try:
        os.close(bpf.prog_get_fd_by_id(number))
    except FileNotFoundError:
        return False
    return True


def test_thousands_of_rules_are_loaded(cgroup: Cgroup) -> None:
    rules = [
        {
            "allow": number % 3 > 0,
            "type": "cb"[number % 2],
            "major": number % 400,
            "minor": number,
            "access": ("r", "rw", "rwm", "w")[number % 4],
        }
        for number in range(5000)
    ]
    cgroup.apply({"devices": rules})


def test_the_real_verifier_is_quoted(cgroup: Cgroup, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(v2_devices, "program_of", lambda _: bytes((0x95, *bytes(7))))
    words = (
        r"limiting the devices of .*: loading their eBPF program: permission denied: .*R0 !read_ok"
    )
    with pytest.raises(SetupError, match=words):
        cgroup.apply(None)
