"""Cgroups frozen and killed, on v1 and on the bare v2 tree of a hybrid host.

The controllers of such a tree belong to v1, so limits on v2 are proved elsewhere:
test_resources_v2.py, and on recorded files in tests/unit/cgroups/test_cgroup_v2.py.

Source: runtime-spec config-linux.md#control-groups;
docs/runc-compat/cgroups.md#freezing-and-killing.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from harness.cgroups import (
    LAYOUT,
    MB,
    NOTHING,
    V2_MOUNT,
    Child,
    leftovers,
    on_v1,
    on_v2_tree,
)
from harness.runtime import wait_until

from ocirun.cgroups.choose import layout, new_cgroup
from ocirun.cgroups.paths import Table
from ocirun.errors import SetupError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ocirun.cgroups.cgroup import Cgroup

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make cgroups"),
]


def processor_ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def spin() -> None:
    while True:
        pass


@on_v1
def test_frozen_processes_stand_still(cgroup: Cgroup) -> None:
    cgroup.prepare({})
    child = Child(spin)
    cgroup.join(child.pid)
    os.write(child.go, b"x")
    cgroup.freeze()
    assert cgroup.is_frozen()
    before = processor_ticks(child.pid)
    time.sleep(0.2)
    assert processor_ticks(child.pid) == before
    cgroup.thaw()
    assert not cgroup.is_frozen()
    time.sleep(0.2)
    assert processor_ticks(child.pid) > before
    cgroup.kill_all()
    assert child.end() == -signal.SIGKILL


@on_v1
def test_below_a_frozen_cgroup_counts_as_running(cgroup: Cgroup, name: str) -> None:
    cgroup.prepare({})
    inner = new_cgroup(f"{name}/inner", "id", "cgroupfs")
    inner.prepare({})
    cgroup.freeze()
    assert (cgroup.is_frozen(), inner.is_frozen()) == (True, False)
    cgroup.thaw()


@on_v1
def test_frozen_processes_are_killed_and_nothing_stays_frozen(cgroup: Cgroup) -> None:
    cgroup.prepare({})
    child = Child(spin)
    cgroup.join(child.pid)
    cgroup.freeze()
    cgroup.kill_all()
    assert child.end() == -signal.SIGKILL
    assert not cgroup.is_frozen()


def fork_forever() -> None:
    while True:
        with contextlib.suppress(OSError):
            os.fork()


@on_v1
@pytest.mark.parametrize("hierarchies", ["all", "v1 only"])
def test_endless_forking_is_killed_completely(cgroup: Cgroup, hierarchies: str) -> None:
    if hierarchies == "v1 only":  # without cgroup.kill of the v2 tree beside them
        cgroup.paths.pop("", None)
    limits = {"pids": {"limit": 40}}
    cgroup.prepare(limits)
    child = Child(fork_forever)
    cgroup.join(child.pid)
    cgroup.apply(limits)
    os.write(child.go, b"x")
    wait_until(lambda: len(cgroup.processes()) > 10, "a crowd")
    cgroup.kill_all()
    assert child.end() == -signal.SIGKILL
    cgroup.remove()


@on_v1
def test_parallel_creation_below_a_shared_parent_leaves_nothing(name: str) -> None:
    limits = {"cpu": {"cpus": "0"}, "pids": {"limit": 5}, "devices": NOTHING}

    def come_and_go(number: int) -> int:
        for turn in range(10):
            cgroup = new_cgroup(f"/{name}/pod{turn % 2}/{number}", "id", "cgroupfs")
            cgroup.prepare(limits)
            child = Child(lambda: time.sleep(60))
            cgroup.join(child.pid)
            cgroup.apply(limits)
            assert cgroup.processes() == [child.pid]
            cgroup.kill_all()
            assert child.end() == -signal.SIGKILL
            (cgroup.undo if turn % 3 else cgroup.remove)()
        return number

    workers = [Child(lambda number=number: come_and_go(number)) for number in range(8)]  # type: ignore[misc]
    for worker in workers:
        os.write(worker.go, b"x")
    assert [worker.end() for worker in workers] == list(range(8))
    left = sorted(leftovers(name), reverse=True)
    for top in left:  # parents of a container stay, as with runc: nobody knows whose they are
        for pod in sorted(top.iterdir()):
            if pod.is_dir():
                pod.rmdir()
        top.rmdir()


# The bare v2 tree


@pytest.fixture
def v2_table(name: str) -> Iterator[Table]:
    """A part of the real v2 tree passes for a host that has only v2."""
    assert V2_MOUNT is not None
    top = f"{V2_MOUNT.point}/{name}"
    os.mkdir(top)
    line = f"41 31 0:38 /{name} {top} rw - cgroup2 cgroup2 rw"
    yield Table(line, f"0::/{name}/own")
    os.rmdir(top)


@on_v2_tree
def test_v2_is_made_cloned_into_frozen_killed_and_removed(v2_table: Table) -> None:
    cgroup = new_cgroup("", "web", "cgroupfs", table=v2_table)
    assert layout(v2_table) == "v2"
    cgroup.prepare({})
    into = cgroup.cgroup_fd()
    assert into is not None
    child = Child(spin, into=into)
    os.close(into)
    assert cgroup.processes() == [child.pid]
    with pytest.raises(SetupError, match="not empty: 1 process"):
        new_cgroup("", "web", "cgroupfs", table=v2_table).prepare({})
    os.write(child.go, b"x")
    cgroup.freeze()
    before = processor_ticks(child.pid)
    time.sleep(0.2)
    assert processor_ticks(child.pid) == before
    assert cgroup.is_frozen()
    cgroup.kill_all()
    assert child.end() == -signal.SIGKILL
    assert not cgroup.is_frozen()
    cgroup.remove()
    assert not os.path.exists(cgroup.paths[""])


@on_v2_tree
@pytest.mark.skipif(LAYOUT == "v2", reason="this host has cgroup v2 alone")
def test_v2_is_joined_by_pid_and_told_what_is_missing(v2_table: Table) -> None:
    cgroup = new_cgroup("/a/b", "web", "cgroupfs", table=v2_table)
    cgroup.prepare({})
    child = Child(lambda: None)
    cgroup.join(child.pid)
    assert cgroup.processes() == [child.pid]
    with pytest.raises(SetupError, match=r"^cannot set memory limit: controller memory not avail"):
        cgroup.apply({"memory": {"limit": MB}})
    child.result()
    cgroup.remove()
    os.rmdir(os.path.dirname(cgroup.paths[""]))


@on_v2_tree
def test_v2_below_a_threaded_cgroup(v2_table: Table) -> None:
    top = v2_table.mounts[0].point
    os.mkdir(f"{top}/a")
    Path(top, "a", "cgroup.type").write_text("threaded")
    cgroup = new_cgroup("/a/b", "web", "cgroupfs", table=v2_table)
    with pytest.raises(SetupError, match="with domain controllers -- it is in threaded mode"):
        cgroup.prepare({"memory": {"limit": MB}})
    cgroup.prepare({})
    assert Path(cgroup.paths[""], "cgroup.type").read_text() == "threaded\n"
    cgroup.remove()
    os.rmdir(f"{top}/a")
