"""Limits of cgroups as the processes in them feel them.

Source: runtime-spec config-linux.md#control-groups.
"""

from __future__ import annotations

import os
import signal
import stat
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from harness.cgroups import (
    MB,
    NOTHING,
    Child,
    in_cgroup,
    on_v1,
    read,
)

from ocirun.cgroups.choose import new_cgroup

if TYPE_CHECKING:
    from ocirun.cgroups.cgroup import Cgroup

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make cgroups"),
]


@on_v1
def test_pids_limit_refuses_to_fork(cgroup: Cgroup) -> None:
    def fork_until_refused() -> int:
        children = []
        try:
            while len(children) < 50:
                pid = os.fork()
                if pid == 0:
                    time.sleep(60)
                    os._exit(0)
                children.append(pid)
        except BlockingIOError:
            pass
        for pid in children:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        return len(children)

    assert in_cgroup(cgroup, {"pids": {"limit": 5}}, fork_until_refused) == 4


@on_v1
def test_memory_limit_kills_and_is_counted(cgroup: Cgroup) -> None:
    def take_too_much() -> int:
        return len(bytearray(b"x") * (256 * MB))

    limits = {"memory": {"limit": 24 * MB, "swap": 24 * MB}}
    assert in_cgroup(cgroup, limits, take_too_much) == -signal.SIGKILL
    assert cgroup.oom_kills() == 1


@on_v1
def test_only_listed_devices_open(cgroup: Cgroup, tmp_path: Path) -> None:
    def open_each() -> dict[str, str]:
        results = {}
        for path, flags in (("null", os.O_RDWR), ("kmsg", os.O_RDONLY), ("zero", os.O_RDONLY)):
            try:
                os.close(os.open(tmp_path / path, flags | os.O_NONBLOCK))
                results[path] = "opened"
            except OSError as error:
                results[path] = os.strerror(error.errno or 0)
        return results

    for node, minor in (("null", 3), ("zero", 5), ("kmsg", 11)):
        os.mknod(tmp_path / node, 0o666 | stat.S_IFCHR, os.makedev(1, minor))
    denied = {"null": "opened", "kmsg": "Operation not permitted", "zero": "opened"}
    assert in_cgroup(cgroup, {"devices": NOTHING}, open_each) == denied
    allowed = [*NOTHING, {"allow": True, "type": "c", "major": 1, "minor": 11, "access": "r"}]
    cgroup.apply({"devices": allowed})
    child = Child(open_each)
    cgroup.join(child.pid)
    assert child.result() == {**denied, "kmsg": "opened"}


@on_v1
def test_without_any_limits_devices_are_still_denied(cgroup: Cgroup) -> None:
    cgroup.prepare(None)
    cgroup.apply(None)
    rules = read(cgroup, "devices", "devices.list").splitlines()
    assert "a *:* rwm" not in rules
    assert "c 1:3 rwm" in rules
    cgroup.apply({"devices": [{"allow": True, "access": "rwm"}]})
    assert read(cgroup, "devices", "devices.list") == "a *:* rwm"


@on_v1
def test_the_kernel_ends_with_the_rules_asked_for_from_any_state(cgroup: Cgroup) -> None:
    cgroup.prepare({})
    states = [
        [{"allow": True}, {"allow": False, "type": "c", "major": 1, "minor": 11, "access": "w"}],
        [*NOTHING, {"allow": True, "type": "b", "major": 8, "access": "rw"}],
        [*NOTHING, {"allow": True, "type": "b", "major": 8, "access": "r"},
         {"allow": True, "type": "c", "major": 10, "minor": 229, "access": "rwm"}],
        [{"allow": True}],
        [],
    ]  # fmt: skip
    for rules in (*states, *reversed(states)):
        cgroup.apply({"devices": rules})  # compares with what the kernel made of it
    assert "b 8:* r" not in read(cgroup, "devices", "devices.list")


@on_v1
def test_chosen_cpus_are_the_ones_used(cgroup: Cgroup) -> None:
    last = str(max(os.sched_getaffinity(0)))
    task = lambda: sorted(os.sched_getaffinity(0))  # noqa: E731
    assert in_cgroup(cgroup, {"cpu": {"cpus": last}}, task) == [int(last)]


@on_v1
def test_cpus_are_chosen_below_new_parents(name: str) -> None:
    cgroup = new_cgroup(f"/{name}/pod/web", "id", "cgroupfs")
    cgroup.prepare({"cpu": {"cpus": "0"}})
    assert read(cgroup, "cpuset", "cpuset.cpus") == "0"
    assert read(cgroup, "cpuset", "cpuset.mems") != ""
    cgroup.undo()


@on_v1
def test_quota_slows_down(cgroup: Cgroup) -> None:
    def be_busy() -> float:
        """Take what there is, again while it is less than the quota: so it is on a busy machine."""
        most, tries = 0.0, 0
        while most < 0.1 * 0.85 and tries < 20:
            start, used = time.monotonic(), time.process_time()
            while time.monotonic() - start < 1.0:
                pass
            share = (time.process_time() - used) / (time.monotonic() - start)
            most, tries = max(most, share), tries + 1
        return most

    limits = {"cpu": {"period": 20000, "quota": 2000}}
    assert in_cgroup(cgroup, limits, be_busy) == pytest.approx(0.1, rel=0.15)
