"""config-linux.md#control-groups on cgroup v2, without a kernel (controllers on recorded files)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from ocirun.cgroups import choose
from ocirun.cgroups.v2.cpu import weight_of
from ocirun.cgroups.v2.io import io_weight
from ocirun.cgroups.v2.memory import swap_max
from ocirun.errors import SetupError

if TYPE_CHECKING:
    from unit.cgroups.conftest import FakeKernel, FakePrograms

    from ocirun.cgroups.cgroup import Cgroup

ALL = "+cpuset +cpu +io +memory +hugetlb +pids +rdma"


def made(kernel: FakeKernel, path: str = "/a") -> Cgroup:
    cgroup = choose.new_cgroup(path, "id", "cgroupfs", table=kernel.table("v2", own="/"))
    cgroup.prepare({})
    kernel.writes.clear()
    return cgroup


def applied(kernel: FakeKernel, resources: dict[str, Any]) -> list[tuple[str, str]]:
    cgroup = made(kernel)
    cgroup.apply(resources)
    return [(path.rpartition("/")[2], text) for path, text in kernel.writes]


def test_controllers_are_handed_down_level_by_level(kernel: FakeKernel) -> None:
    table = kernel.table("v2", own="/")
    cgroup = choose.new_cgroup("/a/b", "id", "cgroupfs", table=table)
    cgroup.prepare({})
    assert cgroup.paths == {"": f"{kernel.root}/unified/a/b"}
    control = "cgroup.subtree_control"
    assert kernel.writes == [(f"unified/{control}", ALL), (f"unified/a/{control}", ALL)]


def test_what_is_enabled_already_is_not_written(kernel: FakeKernel) -> None:
    table = kernel.table("v2", own="/")
    kernel.put("unified/cgroup.subtree_control", "cpuset cpu io memory hugetlb pids\n")
    cgroup = choose.new_cgroup("/a", "id", "cgroupfs", table=table)
    cgroup.prepare({})
    assert kernel.writes == [("unified/cgroup.subtree_control", "+rdma")]


def test_one_refused_controller_does_not_keep_the_others_away(kernel: FakeKernel) -> None:
    table = kernel.table("v2", own="/")
    kernel.refusals["cgroup.subtree_control", ALL] = [22]
    kernel.refusals["cgroup.subtree_control", "+cpu"] = [22]
    cgroup = choose.new_cgroup("/a", "id", "cgroupfs", table=table)
    cgroup.prepare({"memory": {"limit": 1}})
    words = ALL.replace("+cpu ", "").split()
    assert [text for _, text in kernel.writes] == words


def test_below_a_threaded_cgroup(kernel: FakeKernel) -> None:
    table = kernel.table("v2", own="/")
    os.mkdir(f"{kernel.root}/unified/a")
    kernel.put("unified/a/cgroup.type", "domain invalid\n")
    cgroup = choose.new_cgroup("/a", "id", "cgroupfs", table=table)
    with pytest.raises(SetupError, match="with domain controllers -- it is in an invalid state"):
        cgroup.prepare({"memory": {"limit": 1}})
    cgroup.prepare({"pids": {"limit": 1}})
    assert kernel.texts("cgroup.type") == ["threaded"]
    kernel.put("unified/a/cgroup.type", "domain threaded\n")
    with pytest.raises(SetupError, match="-- it is in domain threaded mode"):
        cgroup.prepare({"cpu": {"shares": 5}})


def test_occupied_and_frozen_cgroups_are_refused(kernel: FakeKernel) -> None:
    table = kernel.table("v2", own="/")
    os.mkdir(f"{kernel.root}/unified/a")
    cgroup = choose.new_cgroup("/a", "id", "cgroupfs", table=table)
    kernel.put("unified/a/cgroup.procs", "5\n")
    with pytest.raises(
        SetupError, match=r"^container's cgroup is not empty: 1 process\(es\) found$"
    ):
        cgroup.prepare({})
    kernel.put("unified/a/cgroup.freeze", "1\n")
    with pytest.raises(SetupError, match=r"^container's cgroup unexpectedly frozen$"):
        cgroup.prepare({})


def test_joining_and_being_cloned_into_it(kernel: FakeKernel) -> None:
    cgroup = made(kernel)
    cgroup.join(42)
    assert kernel.writes == [("unified/a/cgroup.procs", "42")]
    assert cgroup.open_join_fds() == []
    descriptor = cgroup.cgroup_fd()
    assert descriptor is not None
    assert os.path.samestat(os.fstat(descriptor), os.stat(cgroup.paths[""]))
    os.close(descriptor)


def test_where_memory_is_tight_nobody_is_born(kernel: FakeKernel) -> None:
    cgroup = choose.new_cgroup("/a", "id", "cgroupfs", table=kernel.table("v2", own="/"))
    cgroup.prepare({"memory": {"limit": 1 << 20}})
    assert cgroup.cgroup_fd() is None
    (door,) = cgroup.open_join_fds()
    assert os.readlink(f"/proc/self/fd/{door}") == f"{cgroup.paths['']}/cgroup.procs"
    os.close(door)


@pytest.mark.parametrize(
    ("resources", "writes"),
    [
        ({"pids": {"limit": 0}}, [("pids.max", "1")]),
        ({"pids": {"limit": -1}}, [("pids.max", "max")]),
        ({"pids": {"limit": 9}}, [("pids.max", "9")]),
        ({"cpu": {"shares": 1024}}, [("cpu.weight", "100")]),
        ({"cpu": {"idle": 1}}, [("cpu.idle", "1")]),
        ({"cpu": {"idle": 0, "shares": 2}}, [("cpu.idle", "0"), ("cpu.weight", "1")]),
        ({"cpu": {"quota": 5000}}, [("cpu.max", "5000 100000")]),
        ({"cpu": {"period": 5000}}, [("cpu.max", "max 5000")]),
        ({"cpu": {"quota": -1, "period": 7000}}, [("cpu.max", "max 7000")]),
        (
            {"cpu": {"quota": 5000, "burst": 4000, "cpus": "0", "mems": "0-1"}},
            [
                ("cpu.max.burst", "4000"),
                ("cpu.max", "5000 100000"),
                ("cpuset.cpus", "0"),
                ("cpuset.mems", "0-1"),
            ],
        ),
        ({"cpu": {"realtimeRuntime": 5, "realtimePeriod": 6}}, []),
        (
            {"memory": {"limit": 1000, "swap": 1500, "reservation": 500, "swappiness": 5}},
            [("memory.swap.max", "500"), ("memory.max", "1000"), ("memory.low", "500")],
        ),
        (
            {"memory": {"limit": 1000, "swap": 1000}},
            [("memory.swap.max", "0"), ("memory.max", "1000")],
        ),
        ({"memory": {"limit": -1}}, [("memory.swap.max", "max"), ("memory.max", "max")]),
        ({"memory": {"reservation": -1}}, [("memory.low", "max")]),
        ({"memory": {"limit": 2**63 - 1}}, [("memory.max", str(2**63 - 1))]),
        (
            {
                "blockIO": {
                    "weight": 1000,
                    "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 10}],
                    "throttleWriteBpsDevice": [{"major": 8, "minor": 0, "rate": 11}],
                    "throttleReadIOPSDevice": [{"major": 8, "minor": 0, "rate": 12}],
                    "throttleWriteIOPSDevice": [{"major": 8, "minor": 16, "rate": 13}],
                }
            },
            [
                ("io.weight", "10000"),
                ("io.max", "8:0 rbps=10"),
                ("io.max", "8:0 wbps=11"),
                ("io.max", "8:0 riops=12"),
                ("io.max", "8:16 wiops=13"),
            ],
        ),
        (
            {"hugepageLimits": [{"pageSize": "2MB", "limit": 0}]},
            [("hugetlb.2MB.max", "0"), ("hugetlb.2MB.rsvd.max", "0")],
        ),
        ({"rdma": {"mlx5_1": {"hcaHandles": 3}}}, [("rdma.max", "mlx5_1 hca_handle=3")]),
        (
            {
                "unified": {"memory.high": "5", "io.max": "8:0 rbps=1\n8:16 rbps=2"},
                "pids": {"limit": 1},
            },
            [
                ("pids.max", "1"),
                ("memory.high", "5"),
                ("io.max", "8:0 rbps=1"),
                ("io.max", "8:16 rbps=2"),
            ],
        ),
        ({"network": {"classID": 5}, "devices": []}, []),
    ],
)
def test_each_key_and_its_writes_in_order_on_recorded_files(
    kernel: FakeKernel, resources: dict[str, Any], writes: list[tuple[str, str]]
) -> None:
    assert applied(kernel, resources) == writes


def test_bfq_takes_weights_raw_and_by_device_on_recorded_files(kernel: FakeKernel) -> None:
    cgroup = made(kernel)
    kernel.put("unified/a/io.bfq.weight", "default 100\n")
    block_io = {"weight": 500, "weightDevice": [{"major": 8, "minor": 0, "weight": 200}]}
    cgroup.apply({"blockIO": block_io})
    assert kernel.texts("io.bfq.weight") == ["500", "8:0 200"]


def test_all_sections_are_written_in_runcs_order_on_recorded_files(kernel: FakeKernel) -> None:
    resources = {
        "unified": {"memory.high": "9"},
        "rdma": {"d": {"hcaObjects": 1}},
        "hugepageLimits": [{"pageSize": "2MB", "limit": 1}],
        "cpu": {"cpus": "0", "shares": 3},
        "blockIO": {"weight": 10},
        "memory": {"limit": 2},
        "pids": {"limit": 1},
    }
    order = [file for file, _ in applied(kernel, resources)]
    assert order == [
        "pids.max", "memory.max", "io.weight", "cpu.weight", "cpuset.cpus", "hugetlb.2MB.max",
        "hugetlb.2MB.rsvd.max", "rdma.max", "memory.high",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("shares", "weight"),
    [(0, 1), (1, 1), (2, 1), (10, 4), (512, 59), (1024, 100), (2048, 174), (4096, 303),
     (65536, 3023), (262143, 10000), (262144, 10000), (2**63, 10000)],
)  # fmt: skip
def test_weights_are_the_ones_that_peers_compute(shares: int, weight: int) -> None:
    assert weight_of(shares) == weight


def test_weights_grow_with_shares_and_stay_in_range() -> None:
    weights = [weight_of(shares) for shares in range(2, 262145, 7)]
    assert weights == sorted(weights)
    assert all(type(weight) is int and 1 <= weight <= 10000 for weight in weights)


def test_io_weights_meet_both_ends() -> None:
    assert (io_weight(10), io_weight(1000)) == (1, 10000)


@pytest.mark.parametrize(
    ("limit", "swap", "result"),
    [(0, 0, None), (5, 0, None), (5, 5, "0"), (5, 8, "3"), (5, -1, "max"), (-1, 0, "max"),
     (-1, -1, "max"), (0, -1, "max")],
)  # fmt: skip
def test_swap_alone_is_swap_minus_limit(limit: int, swap: int, result: str | None) -> None:
    assert swap_max(limit, swap) == result


@pytest.mark.parametrize(
    ("limit", "swap", "words"),
    [
        (0, 5, "unable to set swap limit without memory limit"),
        (-1, 5, "unable to set swap limit without memory limit"),
        (-7, 5, "invalid memory value: -7"),
        (6, 5, "memory+swap limit should be >= memory limit"),
    ],
)
def test_contradicting_swap_limits_are_refused(limit: int, swap: int, words: str) -> None:
    with pytest.raises(SetupError) as caught:
        swap_max(limit, swap)
    assert str(caught.value) == words


def test_no_swap_in_the_kernel_is_no_swap_to_forbid_on_recorded_files(kernel: FakeKernel) -> None:
    cgroup = made(kernel)
    os.unlink(f"{cgroup.paths['']}/memory.swap.max")
    cgroup.apply({"memory": {"limit": 5, "swap": 5}})
    with pytest.raises(SetupError, match=r"memory.swap.max to '4': no such file"):
        cgroup.apply({"memory": {"limit": 5, "swap": 9}})


def test_check_before_update_on_recorded_files(kernel: FakeKernel) -> None:
    cgroup = made(kernel)
    check = {"checkBeforeUpdate": True}
    with pytest.raises(SetupError, match=r"^rejecting memory limit 1048576 <= usage 1048576$"):
        cgroup.apply({"memory": {"limit": 1048576, **check}})
    with pytest.raises(SetupError, match=r"rejecting memory.swap limit 1048576 <= usage 1048576"):
        cgroup.apply({"memory": {"limit": 4, "swap": 1048576, **check}})
    assert kernel.writes == []
    cgroup.apply({"memory": {"limit": 1048577, **check}})
    assert kernel.texts("memory.max") == ["1048577"]


def test_burst_is_tried_again_after_the_quota_on_recorded_files(kernel: FakeKernel) -> None:
    cgroup = made(kernel)
    kernel.refusals["cpu.max.burst", "4000"] = [22]
    cgroup.apply({"cpu": {"quota": 5000, "burst": 4000}})
    assert [text for _, text in kernel.writes] == ["5000 100000", "4000"]


def test_a_missing_controller_is_named_when_a_limit_needs_it(kernel: FakeKernel) -> None:
    cgroup = made(kernel)
    directory = cgroup.paths[""]
    kernel.put("unified/a/cgroup.controllers", "cpu pids\n")
    os.unlink(f"{directory}/memory.max")
    cgroup.apply({"pids": {"limit": 5}})
    with pytest.raises(SetupError) as caught:
        cgroup.apply({"memory": {"limit": 5}})
    assert str(caught.value) == "cannot set memory limit: controller memory not available"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("../x", "unified resource '../x' must be a file name (no slashes)"),
        ("nodot", "unified resource 'nodot' must be in the form CONTROLLER.PARAMETER"),
        ("misc.max", "unified resource 'misc.max' can't be set: controller 'misc' not available"),
        ("pids.none", "setting ROOT/unified/a/pids.none to '1': no such file or directory"),
    ],
)
def test_unified_takes_names_of_existing_files_only(
    kernel: FakeKernel, name: str, words: str
) -> None:
    cgroup = made(kernel)
    with pytest.raises(SetupError) as caught:
        cgroup.apply({"unified": {name: "1"}})
    assert str(caught.value) == words.replace("ROOT", str(kernel.root))


def test_an_update_leaves_the_devices_alone(kernel: FakeKernel, programs: FakePrograms) -> None:
    cgroup = made(kernel)
    cgroup.apply(None)
    assert programs.done == ["attach 1"]
    cgroup.update({"pids": {"limit": 5}, "devices": [{"allow": True}]})
    assert programs.done == ["attach 1"]
    assert kernel.texts("pids.max") == ["5"]


def test_rootless_without_permission_needs_no_limits(kernel: FakeKernel) -> None:
    table = kernel.table("v2", own="/")
    kernel.forbidden = {"unified"}
    cgroup = choose.new_cgroup("", "id", "cgroupfs", rootless=True, table=table)
    with pytest.raises(SetupError, match=r"^rootless needs no limits \+ no cgrouppath when no"):
        cgroup.prepare({"pids": {"limit": 5}})
    cgroup.prepare({"devices": [{"allow": False}]})
    assert cgroup.paths == {}
    cgroup.join(1)
    cgroup.apply({"devices": [{"allow": False}]})
    with pytest.raises(SetupError, match=r"^cannot set pids limit: container could not join"):
        cgroup.apply({"pids": {"limit": 5}})
    assert (cgroup.processes(), cgroup.oom_kills(), cgroup.cgroup_fd()) == ([], 0, None)
    cgroup.kill_all()
    cgroup.remove()
    explicit = choose.new_cgroup("/a", "id", "cgroupfs", rootless=True, table=table)
    with pytest.raises(SetupError, match=r"making cgroup .*/a: permission denied"):
        explicit.prepare({})


def test_a_threaded_cgroup_is_killed_one_by_one(
    kernel: FakeKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kernel: cgroup.kill of a threaded cgroup gives EOPNOTSUPP."""
    from ocirun.cgroups import kill as module

    killed: list[int] = []

    def kill(pid: int) -> None:
        killed.append(pid)
        kernel.put("unified/a/cgroup.procs", "")

    monkeypatch.setattr(module, "kill_one", kill)
    cgroup = made(kernel)
    kernel.put("unified/a/cgroup.procs", "99\n")
    kernel.put("unified/a/cgroup.events", "frozen 1\n")
    kernel.refusals = {("cgroup.kill", "1"): [95]}
    cgroup.kill_all()
    assert killed == [99]
    assert kernel.texts("cgroup.freeze")[-1] == "0"
    kernel.refusals = {("cgroup.kill", "1"): [1]}
    with pytest.raises(SetupError, match="operation not permitted"):
        cgroup.kill_all()
    assert kernel.texts("cgroup.freeze")[-1] == "0"


def test_freeze_that_does_not_come_to_rest_is_taken_back(
    kernel: FakeKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ocirun.cgroups.v2 import freezer

    cgroup = made(kernel)
    monkeypatch.setattr(freezer, "LIMIT_S", 0.0)
    with pytest.raises(SetupError, match="do not stand still"):
        cgroup.freeze()
    assert kernel.texts("cgroup.freeze") == ["1", "0"]
    kernel.put("unified/a/cgroup.events", "frozen 1\n")
    cgroup.freeze()
    assert cgroup.is_frozen()
    cgroup.thaw()
    assert not cgroup.is_frozen()


def test_oom_kills_are_read_from_memory_events(kernel: FakeKernel) -> None:
    assert made(kernel).oom_kills() == 2
