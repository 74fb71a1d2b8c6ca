"""config-linux.md#control-groups on the real kernel: made, joined, limited, removed.

Felt limits, freezing and killing, and runc's own values are in the files beside this one.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from harness.cgroups import (
    MB,
    Child,
    leftovers,
    needs_file,
    on_v1,
    read,
)

from ocirun.cgroups.choose import known_cgroup, new_cgroup
from ocirun.errors import SetupError

if TYPE_CHECKING:
    from ocirun.cgroups.cgroup import Cgroup

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make cgroups"),
]

# Making, joining, removing


@on_v1
@pytest.mark.parametrize("way", ["moved by the parent", "by itself"])
def test_a_process_is_in_every_hierarchy(cgroup: Cgroup, name: str, way: str) -> None:
    cgroup.prepare({})
    if way == "by itself":
        join_fds, into = cgroup.open_join_fds(), cgroup.cgroup_fd()
        child = Child(lambda: None, join_fds, -1 if into is None else into)
        for descriptor in join_fds if into is None else [*join_fds, into]:
            os.close(descriptor)
    else:
        child = Child(lambda: None)
        cgroup.join(child.pid)
    lines = Path(f"/proc/{child.pid}/cgroup").read_text().splitlines()
    # There may be hierarchies that are mounted for nobody.
    lines = [line for line in lines if line.split(":")[1].split(",")[0] in cgroup.paths]
    assert len(lines) > 1
    assert [line for line in lines if not line.endswith(f"/{name}")] == []
    assert cgroup.processes() == [child.pid]
    child.result()
    cgroup.remove()
    assert leftovers(name) == []


@on_v1
def test_undo_leaves_nothing(name: str) -> None:
    cgroup = new_cgroup(f"/{name}/deep/er", "id", "cgroupfs")
    cgroup.prepare({})
    assert leftovers(name) != []
    cgroup.undo()
    assert leftovers(name) == []


@on_v1
def test_an_occupied_cgroup_is_refused(cgroup: Cgroup, name: str) -> None:
    cgroup.prepare({})
    child = Child(lambda: None)
    cgroup.join(child.pid)
    with pytest.raises(
        SetupError, match=r"^container's cgroup is not empty: 1 process\(es\) found$"
    ):
        new_cgroup(name, "id", "cgroupfs").prepare({})
    assert cgroup.processes() == [child.pid]
    child.result()


@on_v1
def test_a_frozen_cgroup_is_refused(cgroup: Cgroup, name: str) -> None:
    cgroup.prepare({})
    cgroup.freeze()
    with pytest.raises(SetupError, match=r"^container's cgroup unexpectedly frozen$"):
        new_cgroup(name, "id", "cgroupfs").prepare({})
    cgroup.thaw()


@on_v1
def test_a_known_cgroup_is_removed_with_all_below_it(cgroup: Cgroup, name: str) -> None:
    cgroup.prepare({})
    for directory in cgroup.directories():
        os.makedirs(f"{directory}/a/b")
    known = known_cgroup(json.loads(json.dumps(cgroup.paths)), "cgroupfs")
    known.remove()
    assert leftovers(name) == []


@on_v1
def test_removing_a_cgroup_in_use_says_so(cgroup: Cgroup) -> None:
    cgroup.prepare({})
    child = Child(lambda: None)
    cgroup.join(child.pid)
    with pytest.raises(SetupError, match=r"removing cgroup .*: device or resource busy"):
        cgroup.remove()
    child.result()


# Each key, read back


@on_v1
@pytest.mark.parametrize(
    ("resources", "controller", "file", "expected"),
    [
        ({"memory": {"limit": 64 * MB}}, "memory", "memory.limit_in_bytes", str(64 * MB)),
        ({"memory": {"limit": 64 * MB, "swap": 96 * MB}}, "memory",
         "memory.memsw.limit_in_bytes", str(96 * MB)),
        ({"memory": {"reservation": 32 * MB}}, "memory", "memory.soft_limit_in_bytes",
         str(32 * MB)),
        ({"memory": {"swappiness": 7}}, "memory", "memory.swappiness", "7"),
        ({"cpu": {"shares": 512}}, "cpu", "cpu.shares", "512"),
        ({"cpu": {"period": 50000, "quota": 20000}}, "cpu", "cpu.cfs_quota_us", "20000"),
        ({"cpu": {"period": 50000}}, "cpu", "cpu.cfs_period_us", "50000"),
        ({"cpu": {"quota": 20000, "burst": 10000}}, "cpu", "cpu.cfs_burst_us", "10000"),
        ({"cpu": {"idle": 1}}, "cpu", "cpu.idle", "1"),
        ({"cpu": {"realtimePeriod": 500000, "realtimeRuntime": 0}}, "cpu", "cpu.rt_period_us",
         "500000"),
        ({"cpu": {"cpus": "0", "mems": "0"}}, "cpuset", "cpuset.cpus", "0"),
        ({"pids": {"limit": 17}}, "pids", "pids.max", "17"),
        ({"pids": {"limit": 0}}, "pids", "pids.max", "1"),
        ({"pids": {"limit": -1}}, "pids", "pids.max", "max"),
        ({"blockIO": {"weight": 300}}, "blkio", "blkio.bfq.weight", "300"),
        ({"hugepageLimits": [{"pageSize": "2MB", "limit": 2 * MB}]}, "hugetlb",
         "hugetlb.2MB.limit_in_bytes", str(2 * MB)),
        ({"network": {"classID": 1048577}}, "net_cls", "net_cls.classid", "1048577"),
    ],
)  # fmt: skip
def test_limits_are_read_back(
    cgroup: Cgroup, resources: dict[str, Any], controller: str, file: str, expected: str
) -> None:
    cgroup.prepare(resources)
    needs_file(cgroup, controller, file)
    cgroup.apply(resources)
    assert read(cgroup, controller, file) == expected


@on_v1
def test_oom_killer_is_disabled(cgroup: Cgroup) -> None:
    cgroup.prepare({})
    needs_file(cgroup, "memory", "memory.oom_control")
    cgroup.apply({"memory": {"disableOOMKiller": True}})
    assert "oom_kill_disable 1" in read(cgroup, "memory", "memory.oom_control")


@on_v1
def test_throttles_are_read_back(cgroup: Cgroup) -> None:
    cgroup.prepare({})
    needs_file(cgroup, "blkio", "blkio.throttle.read_bps_device")
    disk = next((Path(path) for path in sorted(Path("/sys/block").iterdir())), None)
    if disk is None:
        pytest.skip("this machine has no block device")
    numbers = (disk / "dev").read_text().strip()
    major, minor = (int(word) for word in numbers.split(":"))
    kinds = {"ReadBps": "read_bps", "WriteBps": "write_bps", "ReadIOPS": "read_iops",
             "WriteIOPS": "write_iops"}  # fmt: skip
    entry = {"major": major, "minor": minor}
    block_io = {
        f"throttle{kind}Device": [{**entry, "rate": 1000 + index}]
        for index, kind in enumerate(kinds)
    }
    cgroup.apply({"blockIO": block_io})
    for index, word in enumerate(kinds.values()):
        file = f"blkio.throttle.{word}_device"
        assert read(cgroup, "blkio", file) == f"{numbers} {1000 + index}"


@on_v1
def test_limits_change_on_a_cgroup_in_use(cgroup: Cgroup) -> None:
    cgroup.prepare({})
    for limit, swap in ((64, 64), (32, 48), (128, 256), (16, -1), (-1, 0)):
        in_bytes = [value if value <= 0 else value * MB for value in (limit, swap)]
        cgroup.apply({"memory": {"limit": in_bytes[0], "swap": in_bytes[1]}})
        if limit > 0:
            assert read(cgroup, "memory", "memory.limit_in_bytes") == str(in_bytes[0])
    for period, quota in ((100000, 50000), (2000, 1900), (1000000, 500000)):
        cgroup.apply({"cpu": {"period": period, "quota": quota}})
        assert read(cgroup, "cpu", "cpu.cfs_period_us") == str(period)
        assert read(cgroup, "cpu", "cpu.cfs_quota_us") == str(quota)


@on_v1
def test_shares_out_of_range_are_told(cgroup: Cgroup) -> None:
    cgroup.prepare({})
    with pytest.raises(SetupError, match=r"^the maximum allowed cpu-shares is 262144$"):
        cgroup.apply({"cpu": {"shares": 262145}})
    with pytest.raises(SetupError, match=r"^the minimum allowed cpu-shares is 2$"):
        cgroup.apply({"cpu": {"shares": 1}})


@on_v1
def test_a_refused_value_names_the_file_and_the_reason(cgroup: Cgroup) -> None:
    cgroup.prepare({})
    directory = cgroup.paths["cpuset"]
    with pytest.raises(SetupError) as caught:
        cgroup.apply({"cpu": {"cpus": "4000"}})
    words = str(caught.value)
    assert words.startswith(f"setting {directory}/cpuset.cpus to '4000': ")
    assert re.search(r" \(the cgroup above has [0-9,-]+\)$", words)


@on_v1
def test_a_quota_that_is_too_small_names_the_smallest(cgroup: Cgroup) -> None:
    cgroup.prepare({})
    with pytest.raises(SetupError, match="a quota is 1000 or more"):
        cgroup.apply({"cpu": {"quota": 10, "period": 100000}})
