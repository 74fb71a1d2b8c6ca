"""Limits of a cgroup in use, changed: which write comes first, and what a zero says; no kernel."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from ocirun.cgroups import choose
from ocirun.errors import SetupError

if TYPE_CHECKING:
    from unit.cgroups.conftest import FakeKernel

    from ocirun.cgroups.cgroup import Cgroup

MB = 1 << 20
EINVAL = 22


def made(kernel: FakeKernel, layout: str, resources: Any = None) -> Cgroup:  # noqa: ANN401
    cgroup = choose.new_cgroup("/web", "id", "cgroupfs", table=kernel.table(layout))
    cgroup.prepare(resources or {})
    return cgroup


def written(kernel: FakeKernel, cgroup: Cgroup, resources: Any) -> list[tuple[str, str]]:  # noqa: ANN401
    """Update, and give the writes as (file, text)."""
    kernel.writes.clear()
    cgroup.update(resources)
    return [(os.path.basename(path), text) for path, text in kernel.writes]


@pytest.mark.parametrize(("layout", "shares"), [("v1", "cpu.shares"), ("v2", "cpu.weight")])
def test_shares_come_after_idle_and_not_with_it_on_recorded_files(
    kernel: FakeKernel, layout: str, shares: str
) -> None:
    cgroup = made(kernel, layout)
    value = {"cpu.shares": "1024", "cpu.weight": "100"}[shares]
    awake = {"cpu": {"shares": 1024, "idle": 0}}
    assert written(kernel, cgroup, awake) == [("cpu.idle", "0"), (shares, value)]
    assert written(kernel, cgroup, {"cpu": {"shares": 1024, "idle": 1}}) == [("cpu.idle", "1")]


@pytest.mark.parametrize(("layout", "file"), [("v1", "cpu.cfs_burst_us"), ("v2", "cpu.max.burst")])
def test_a_burst_of_zero_takes_it_away_where_there_are_any_on_recorded_files(
    kernel: FakeKernel, layout: str, file: str
) -> None:
    cgroup = made(kernel, layout)
    assert written(kernel, cgroup, {"cpu": {"burst": 0}}) == [(file, "0")]
    os.unlink(f"{cgroup.paths['cpu' if layout == 'v1' else '']}/{file}")
    assert written(kernel, cgroup, {"cpu": {"burst": 0}}) == []
    with pytest.raises(SetupError, match="no such file"):
        cgroup.update({"cpu": {"burst": 5}})


def test_what_does_not_fit_the_old_half_is_written_again_on_recorded_files(
    kernel: FakeKernel,
) -> None:
    cgroup = made(kernel, "v1")
    kernel.refusals["cpu.cfs_period_us", "2000"] = [EINVAL]
    kernel.refusals["cpu.cfs_burst_us", "900"] = [EINVAL]
    assert written(kernel, cgroup, {"cpu": {"period": 2000, "quota": 1000, "burst": 900}}) == [
        ("cpu.cfs_quota_us", "1000"),
        ("cpu.cfs_period_us", "2000"),
        ("cpu.cfs_burst_us", "900"),
    ]
    kernel.refusals["cpu.rt_period_us", "900"] = [EINVAL]
    real = {"realtimePeriod": 900, "realtimeRuntime": 500}
    assert written(kernel, cgroup, {"cpu": real}) == [
        ("cpu.rt_runtime_us", "500"),
        ("cpu.rt_period_us", "900"),
    ]
    kernel.refusals["cpu.rt_period_us", "900"] = [EINVAL]
    with pytest.raises(SetupError, match="invalid argument"):
        cgroup.update({"cpu": {"realtimePeriod": 900}})


def test_realtime_limits_are_there_before_the_first_process_on_recorded_files(
    kernel: FakeKernel,
) -> None:
    """Kernel: a process with real-time priority may not join a cgroup without any of its time."""
    made(kernel, "v1", {"cpu": {"realtimePeriod": 900, "realtimeRuntime": 500, "shares": 7}})
    files = [(os.path.basename(path), text) for path, text in kernel.writes]
    assert [one for one in files if one[0].startswith("cpu.")] == [
        ("cpu.rt_period_us", "900"),
        ("cpu.rt_runtime_us", "500"),
    ]


@pytest.mark.parametrize(
    ("limit", "swap", "order"),
    [
        (32, 48, ["limit", "sum"]),  # both below the old limit of 64: the sum could not be first
        (32, 64, ["limit", "sum"]),
        (96, 128, ["sum", "limit"]),  # the limit would be above the old sum of 80
        (32, -1, ["sum", "limit"]),
    ],
)
def test_the_sum_is_never_below_the_limit_on_recorded_files(
    kernel: FakeKernel, limit: int, swap: int, order: list[str]
) -> None:
    cgroup = made(kernel, "v1")
    for file, value in (("limit", 64 * MB), ("memsw.limit", 80 * MB)):
        kernel.put(f"memory/web/memory.{file}_in_bytes", f"{value}\n")
    sizes = {"limit": limit * MB, "swap": swap * MB if swap > 0 else swap}
    names = {"memory.limit_in_bytes": "limit", "memory.memsw.limit_in_bytes": "sum"}
    files = [names[file] for file, _ in written(kernel, cgroup, {"memory": sizes})]
    assert files == order


def test_only_an_update_gives_the_killer_back_on_recorded_files(kernel: FakeKernel) -> None:
    """Docker says false for every container: create has nothing to write then."""
    cgroup = made(kernel, "v1")
    kernel.writes.clear()
    cgroup.apply({"memory": {"disableOOMKiller": False}})
    assert kernel.texts("memory.oom_control") == []
    assert written(kernel, cgroup, {"memory": {"disableOOMKiller": False}}) == [
        ("memory.oom_control", "0")
    ]


@pytest.mark.parametrize("entry", [{"rate": 0}, {}])
def test_a_rate_of_none_is_no_limit_on_recorded_files(
    kernel: FakeKernel, entry: dict[str, int]
) -> None:
    throttle = {"throttleReadBpsDevice": [{"major": 8, "minor": 16, **entry}]}
    assert written(kernel, made(kernel, "v1"), {"blockIO": throttle}) == [
        ("blkio.throttle.read_bps_device", "8:16 0")
    ]
    assert written(kernel, made(kernel, "v2"), {"blockIO": throttle}) == [
        ("io.max", "8:16 rbps=max")
    ]


@pytest.mark.parametrize("layout", ["v1", "v2"])
def test_twins_write_the_same_on_recorded_files(kernel: FakeKernel, layout: str) -> None:
    cgroup = made(kernel, layout)
    resources = {
        "pids": {"limit": 0},
        "hugepageLimits": [{"pageSize": "2MB", "limit": 0}],
        "rdma": {"mlx5_0": {"hcaHandles": 0}, "siw0": {"hcaObjects": 7}},
    }
    hugetlb = "limit_in_bytes" if layout == "v1" else "max"
    assert written(kernel, cgroup, resources) == [
        ("pids.max", "1"),
        (f"hugetlb.2MB.{hugetlb}", "0"),
        (f"hugetlb.2MB.rsvd.{hugetlb}", "0"),
        ("rdma.max", "mlx5_0 hca_handle=0"),
        ("rdma.max", "siw0 hca_object=7"),
    ]
