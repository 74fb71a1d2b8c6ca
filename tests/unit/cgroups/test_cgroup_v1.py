"""config-linux.md#control-groups on cgroup v1 and hybrid hosts, without a kernel."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from ocirun.cgroups import choose
from ocirun.cgroups.enter import enter
from ocirun.errors import SetupError

if TYPE_CHECKING:
    from unit.cgroups.conftest import FakeKernel


GB = 1 << 30


def applied(kernel: FakeKernel, resources: dict[str, Any]) -> list[tuple[str, str]]:
    cgroup = kernel.made()
    cgroup.apply(resources)
    names = [(path.rpartition("/")[2], text) for path, text in kernel.writes]
    return [(name, text) for name, text in names if not name.startswith("devices.")]


def test_prepare_makes_one_directory_in_each_hierarchy(kernel: FakeKernel) -> None:
    cgroup = kernel.made("/a/b", "hybrid")
    for path in cgroup.paths.values():
        assert path.endswith("/a/b")
        assert os.path.isdir(path)
    assert set(cgroup.paths) >= {"", "name=systemd", "memory", "devices"}


def test_undo_removes_what_was_made_and_not_what_was_there(kernel: FakeKernel) -> None:
    table = kernel.table("v1", own="/")
    os.mkdir(f"{kernel.root}/memory/a")
    cgroup = choose.new_cgroup("/a/b", "id", "cgroupfs", table=table)
    cgroup.prepare({})
    cgroup.undo()
    cgroup.undo()
    assert os.path.isdir(f"{kernel.root}/memory/a")
    assert not os.path.exists(f"{kernel.root}/memory/a/b")
    assert not os.path.exists(f"{kernel.root}/cpu/a")


def test_undo_leaves_a_parent_to_whoever_took_it_up_meanwhile(kernel: FakeKernel) -> None:
    table = kernel.table("v1", own="/")
    first = choose.new_cgroup("/pod/a", "id", "cgroupfs", table=table)
    first.prepare({})
    second = choose.new_cgroup("/pod/b", "id", "cgroupfs", table=table)
    second.prepare({})
    first.undo()
    assert not any(os.path.exists(path) for path in first.paths.values())
    assert all(os.path.isdir(path) for path in second.paths.values())


def test_an_occupied_cgroup_is_refused_and_nothing_is_left(kernel: FakeKernel) -> None:
    table = kernel.table("v1", own="/")
    os.mkdir(f"{kernel.root}/devices/a")
    os.mkdir(f"{kernel.root}/devices/a/sub")
    kernel.put("devices/a/sub/cgroup.procs", "7\n8\n")
    cgroup = choose.new_cgroup("/a", "id", "cgroupfs", table=table)
    with pytest.raises(
        SetupError, match=r"^container's cgroup is not empty: 2 process\(es\) found$"
    ):
        cgroup.prepare({})
    assert not os.path.exists(f"{kernel.root}/memory/a")
    assert os.path.isdir(f"{kernel.root}/devices/a/sub")


def test_a_frozen_cgroup_is_refused(kernel: FakeKernel) -> None:
    table = kernel.table("v1", own="/")
    os.mkdir(f"{kernel.root}/freezer/a")
    kernel.put("freezer/a/freezer.state", "FROZEN\n")
    cgroup = choose.new_cgroup("/a", "id", "cgroupfs", table=table)
    kernel.put("freezer/a/freezer.self_freezing", "1\n")
    with pytest.raises(SetupError, match=r"^container's cgroup unexpectedly frozen$"):
        cgroup.prepare({})
    kernel.put("freezer/a/freezer.self_freezing", "0\n")  # only its parent is frozen
    cgroup.prepare({})


def test_new_cpusets_take_their_parents_values_level_by_level(kernel: FakeKernel) -> None:
    table = kernel.table("v1", own="/")
    cgroup = choose.new_cgroup("/a/b/c", "id", "cgroupfs", table=table)
    cgroup.prepare({})
    assert kernel.writes == [
        (f"cpuset/{level}/{file}", value)
        for level in ("a", "a/b", "a/b/c")
        for file, value in (("cpuset.cpus", "0-3"), ("cpuset.mems", "0"))
    ]


def test_chosen_cpus_are_written_instead_of_the_parents(kernel: FakeKernel) -> None:
    cgroup = choose.new_cgroup("web", "id", "cgroupfs", table=kernel.table("v1", own="/"))
    cgroup.prepare({"cpu": {"cpus": "1"}})
    assert kernel.texts("web/cpuset.cpus") == ["1"]
    assert kernel.texts("web/cpuset.mems") == ["0"]


def test_a_cpuset_that_was_there_is_filled_in_but_not_changed(kernel: FakeKernel) -> None:
    table = kernel.table("v1", own="/")
    os.mkdir(f"{kernel.root}/cpuset/a")
    kernel.put("cpuset/a/cpuset.cpus", "2\n")
    choose.new_cgroup("/a", "id", "cgroupfs", table=table).prepare({"cpu": {"cpus": "1"}})
    assert kernel.writes == [("cpuset/a/cpuset.mems", "0")]


def test_join_writes_the_pid_everywhere_once(kernel: FakeKernel) -> None:
    cgroup = kernel.made(layout="hybrid")
    cgroup.join(42)
    assert {text for _, text in kernel.writes} == {"42"}
    assert len(kernel.writes) == len(cgroup.directories())


def test_join_tries_again_while_the_process_is_being_born(kernel: FakeKernel) -> None:
    cgroup = kernel.made()
    kernel.refusals["cgroup.procs", "42"] = [22, 22]
    cgroup.join(42)
    kernel.refusals["cgroup.procs", "42"] = [22] * 5
    with pytest.raises(SetupError, match=r"adding process 42 to cgroup .*: invalid argument"):
        cgroup.join(42)


def test_join_descriptors_are_the_tasks_files_of_v1(kernel: FakeKernel) -> None:
    cgroup = kernel.made(layout="hybrid")
    join_fds = cgroup.open_join_fds()
    assert len(join_fds) == len(cgroup.paths) - 1
    assert not any(os.get_inheritable(door) for door in join_fds)
    enter(join_fds)
    for name, path in cgroup.paths.items():
        with open(f"{path}/tasks") as stream:
            assert stream.read() == ("" if name == "" else "0")
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(join_fds[0])


@pytest.mark.parametrize(
    ("resources", "writes"),
    [
        ({"pids": {"limit": 20}}, [("pids.max", "20")]),
        ({"pids": {"limit": 0}}, [("pids.max", "1")]),
        ({"pids": {"limit": -1}}, [("pids.max", "max")]),
        ({"cpu": {"cpus": "1-2", "mems": "0"}}, [("cpuset.cpus", "1-2"), ("cpuset.mems", "0")]),
        (
            {"cpu": {"shares": 512, "period": 100000, "quota": 50000, "burst": 1000}},
            [
                ("cpu.shares", "512"),
                ("cpu.cfs_period_us", "100000"),
                ("cpu.cfs_burst_us", "1000"),
                ("cpu.cfs_quota_us", "50000"),
            ],
        ),
        ({"cpu": {"quota": -1}}, [("cpu.cfs_quota_us", "-1")]),
        ({"cpu": {"idle": 0}}, [("cpu.idle", "0")]),
        (
            {"cpu": {"realtimeRuntime": 950000, "realtimePeriod": 1000000}},
            [("cpu.rt_period_us", "1000000"), ("cpu.rt_runtime_us", "950000")],
        ),
        (
            {"memory": {"limit": GB, "swap": 2 * GB, "reservation": 5, "swappiness": 0}},
            [
                ("memory.limit_in_bytes", str(GB)),
                ("memory.memsw.limit_in_bytes", str(2 * GB)),
                ("memory.soft_limit_in_bytes", "5"),
                ("memory.swappiness", "0"),
            ],
        ),
        (
            {"memory": {"limit": -1}},
            [("memory.memsw.limit_in_bytes", "-1"), ("memory.limit_in_bytes", "-1")],
        ),
        (
            {"memory": {"limit": GB, "swap": -1, "disableOOMKiller": True}},
            [
                ("memory.memsw.limit_in_bytes", "-1"),
                ("memory.limit_in_bytes", str(GB)),
                ("memory.oom_control", "1"),
            ],
        ),
        ({"memory": {"kernel": 5, "swappiness": 2**64 - 1}}, []),
        ({"memory": {"kernelTCP": 4096}}, [("memory.kmem.tcp.limit_in_bytes", "4096")]),
        (
            {
                "blockIO": {
                    "weight": 100,
                    "weightDevice": [{"major": 8, "minor": 0, "weight": 200}],
                    "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 1}],
                    "throttleWriteIOPSDevice": [
                        {"major": 8, "minor": 0, "rate": 2},
                        {"major": 8, "minor": 16, "rate": 0},
                    ],
                }
            },
            [
                ("blkio.bfq.weight", "100"),
                ("blkio.bfq.weight_device", "8:0 200"),
                ("blkio.throttle.read_bps_device", "8:0 1"),
                ("blkio.throttle.write_iops_device", "8:0 2"),
                ("blkio.throttle.write_iops_device", "8:16 0"),
            ],
        ),
        (
            {"hugepageLimits": [{"pageSize": "2MB", "limit": 2**21}]},
            [
                ("hugetlb.2MB.limit_in_bytes", str(2**21)),
                ("hugetlb.2MB.rsvd.limit_in_bytes", str(2**21)),
            ],
        ),
        (
            {
                "network": {
                    "classID": 1048577,
                    "priorities": [{"name": "eth0", "priority": 5}, {"name": "lo", "priority": 0}],
                }
            },
            [
                ("net_cls.classid", "1048577"),
                ("net_prio.ifpriomap", "eth0 5"),
                ("net_prio.ifpriomap", "lo 0"),
            ],
        ),
        (
            {"rdma": {"mlx5_1": {"hcaHandles": 3, "hcaObjects": 0}, "mlx4_0": {"hcaObjects": 7}}},
            [("rdma.max", "mlx5_1 hca_handle=3 hca_object=0"), ("rdma.max", "mlx4_0 hca_object=7")],
        ),
        # far beyond what a float can hold
        ({"memory": {"limit": 2**63 - 1}}, [("memory.limit_in_bytes", str(2**63 - 1))]),
    ],
)
def test_each_key_and_its_writes_in_order(
    kernel: FakeKernel, resources: dict[str, Any], writes: list[tuple[str, str]]
) -> None:
    assert applied(kernel, resources) == writes


def test_growing_memory_raises_the_sum_first(kernel: FakeKernel) -> None:
    cgroup = kernel.made()
    directory = os.path.relpath(cgroup.paths["memory"], kernel.root)
    kernel.put(f"{directory}/memory.limit_in_bytes", "1000\n")
    cgroup.apply({"memory": {"limit": 2000, "swap": 3000}})
    assert [text for path, text in kernel.writes if "memory" in path] == ["3000", "2000"]


def test_a_memory_limit_below_the_usage_says_both(kernel: FakeKernel) -> None:
    cgroup = kernel.made()
    kernel.refusals["memory.limit_in_bytes", "10"] = [16] * 5
    with pytest.raises(SetupError) as caught:
        cgroup.apply({"memory": {"limit": 10}})
    words = "unable to set memory limit to 10 (current usage: 4096, peak usage: 8192)"
    assert str(caught.value) == words


@pytest.mark.parametrize("name", ["memory.limit_in_bytes", "memory.memsw.limit_in_bytes"])
def test_a_limit_waits_for_what_processors_charged_ahead(kernel: FakeKernel, name: str) -> None:
    cgroup = kernel.made()
    kernel.refusals[name, "10"] = [16] * 4
    cgroup.apply({"memory": {"limit": 10, "swap": 10}})
    assert (name, "10") in [(os.path.basename(path), text) for path, text in kernel.writes]


def test_period_and_burst_are_tried_again_after_the_quota(kernel: FakeKernel) -> None:
    cgroup = kernel.made()
    kernel.refusals["cpu.cfs_period_us", "1000"] = [22]
    kernel.refusals["cpu.cfs_burst_us", "600"] = [22]
    cgroup.apply({"cpu": {"period": 1000, "burst": 600, "quota": 700}})
    assert [text for path, text in kernel.writes if "cpu.cfs" in path] == ["700", "1000", "600"]


def test_a_period_refused_without_a_quota_is_an_error(kernel: FakeKernel) -> None:
    cgroup = kernel.made()
    kernel.refusals["cpu.cfs_period_us", "1"] = [22]
    with pytest.raises(SetupError, match=r"cpu.cfs_period_us to '1': invalid argument"):
        cgroup.apply({"cpu": {"period": 1}})


def test_clamped_shares_are_told(kernel: FakeKernel, monkeypatch: pytest.MonkeyPatch) -> None:
    from ocirun.cgroups.v1 import cpu

    cgroup = kernel.made()
    monkeypatch.setattr(cpu, "read_value", lambda *_: "262144")
    with pytest.raises(SetupError, match=r"^the maximum allowed cpu-shares is 262144$"):
        cgroup.apply({"cpu": {"shares": 300000}})
    with pytest.raises(SetupError, match=r"^the minimum allowed cpu-shares is 262144$"):
        cgroup.apply({"cpu": {"shares": 1}})


def test_swappiness_is_a_percentage(kernel: FakeKernel) -> None:
    with pytest.raises(SetupError, match=r"invalid memory swappiness value: 101 \(valid range"):
        applied(kernel, {"memory": {"swappiness": 101}})


def test_a_missing_hierarchy_matters_only_when_limited(kernel: FakeKernel) -> None:
    cgroup = kernel.made()
    del cgroup.paths["pids"]
    cgroup.apply({"pids": {}})
    with pytest.raises(SetupError, match=r"^cannot set pids limit: container could not join or"):
        cgroup.apply({"pids": {"limit": 5}})


def test_unified_is_refused_on_v1(kernel: FakeKernel) -> None:
    with pytest.raises(SetupError, match="cgroup v2 is not in use"):
        applied(kernel, {"unified": {"memory.high": "1"}})


def test_rootless_without_limits_and_path_does_without(kernel: FakeKernel) -> None:
    table = kernel.table("v1", own="/")
    kernel.forbidden = {"memory", "devices"}
    cgroup = choose.new_cgroup("", "id", "cgroupfs", rootless=True, table=table)
    cgroup.prepare({})
    cgroup.apply({})
    assert cgroup.hierarchies()
    assert "memory" not in cgroup.paths
    assert os.path.isdir(cgroup.paths["pids"])
    with pytest.raises(SetupError, match=r"^cannot set memory limit: container could not"):
        cgroup.apply({"memory": {"limit": 5}})


@pytest.mark.parametrize("more", [{"rootless": False}, {"rootless": True, "path": "/explicit"}])
def test_refusals_count_with_a_path_or_as_root(kernel: FakeKernel, more: dict[str, Any]) -> None:
    table = kernel.table("v1", own="/")
    kernel.forbidden = {"memory"}
    path = more.pop("path", "")
    cgroup = choose.new_cgroup(path, "id", "cgroupfs", table=table, **more)
    with pytest.raises(SetupError, match=r"making cgroup .*/memory/.*: permission denied"):
        cgroup.prepare({})
    assert not os.path.exists(f"{kernel.root}/cpuset/id")


def test_a_tree_that_limits_nothing_may_refuse(kernel: FakeKernel) -> None:
    table = kernel.table("hybrid", own="/")
    kernel.forbidden = {"unified", "systemd"}
    cgroup = choose.new_cgroup("/a", "id", "cgroupfs", table=table)
    cgroup.prepare({})
    assert not {"", "name=systemd"} & set(cgroup.paths)


def test_oom_kills_are_read_from_memory(kernel: FakeKernel) -> None:
    assert kernel.made().oom_kills() == 3
    assert choose.known_cgroup({"pids": "/nowhere"}, "cgroupfs").oom_kills() == 0


def test_the_disabled_manager_touches_nothing(kernel: FakeKernel) -> None:
    table = kernel.table("v1", own="/")
    disabled = choose.new_cgroup("/a", "id", "disabled", table=table)
    disabled.prepare({})
    disabled.join(1)
    disabled.apply({"memory": {"limit": 1}})
    disabled.kill_all()
    disabled.remove()
    assert disabled.paths == {}
    assert kernel.writes == []
