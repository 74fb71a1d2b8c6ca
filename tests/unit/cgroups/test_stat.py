"""What a container has used, read from recorded cgroup trees of both versions.

Source: docs/runc-compat/cli.md#events, docs/runc-compat/cgroups.md#statistics.
"""
# ruff: noqa: ANN401  # documents are JSON

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from ocirun.cgroups import counters
from ocirun.cgroups.counters import UNLIMITED
from ocirun.cgroups.stat import is_there, stat
from ocirun.container.stats import for_json
from ocirun.errors import SetupError

V1 = {
    "cpu": {
        "cpu.stat": "nr_periods 10\nnr_throttled 3\nthrottled_time 123456789\n"
        "nr_bursts 0\nburst_time 0\n",
    },
    "cpuacct": {
        "cpuacct.usage": "18446744073709551615\n",
        "cpuacct.stat": "user 7\nsystem 5\n",
        "cpuacct.usage_percpu": "111 222 \n",
        "cpuacct.usage_all": "cpu user system\n0 11 22\n1 33 44\n",
    },
    "cpuset": {
        "cpuset.cpus": "0-2,5\n",
        "cpuset.mems": "0\n",
        "cpuset.cpu_exclusive": "1\n",
        "cpuset.sched_load_balance": "1\n",
        "cpuset.sched_relax_domain_level": "-1\n",
    },
    "memory": {
        "memory.stat": "cache 4096\nrss 8192\nhierarchical_memory_limit 9223372036854771712\n",
        "memory.usage_in_bytes": "12288\n",
        "memory.max_usage_in_bytes": "16384\n",
        "memory.limit_in_bytes": "9223372036854771712\n",
        "memory.failcnt": "2\n",
        "memory.memsw.usage_in_bytes": "12289\n",
        "memory.memsw.limit_in_bytes": "100000\n",
        "memory.kmem.usage_in_bytes": "100\n",
        "memory.kmem.max_usage_in_bytes": "200\n",
        "memory.kmem.tcp.limit_in_bytes": "9223372036854771712\n",
    },
    "pids": {"pids.current": "3\n", "pids.max": "100\n"},
    "blkio": {
        "blkio.bfq.io_serviced_recursive": "Total 0\n",
        "blkio.throttle.io_serviced_recursive": "8:0 Read 3\n8:0 Write 0\n8:0 Total 3\nTotal 3\n",
        "blkio.throttle.io_service_bytes_recursive": "8:0 Read 12288\n8:0 Total 12288\n",
    },
    "hugetlb": {
        "hugetlb.2MB.limit_in_bytes": "9223372036854771712\n",
        "hugetlb.2MB.usage_in_bytes": "2097152\n",
        "hugetlb.2MB.max_usage_in_bytes": "4194304\n",
        "hugetlb.2MB.failcnt": "1\n",
        "hugetlb.2MB.rsvd.limit_in_bytes": "9223372036854771712\n",
        "hugetlb.2MB.rsvd.usage_in_bytes": "6291456\n",
        "hugetlb.2MB.rsvd.max_usage_in_bytes": "8388608\n",
        "hugetlb.2MB.rsvd.failcnt": "4\n",
        "hugetlb.1GB.limit_in_bytes": "0\n",
    },
    "rdma": {
        "rdma.current": "mlx4_0 hca_handle=2 hca_object=20\n",
        "rdma.max": "mlx4_0 hca_handle=max hca_object=2000\n",
    },
    "misc": {"misc.current": "sev 3\nsev_es 0\n", "misc.events": "sev.max 2\n"},
}
V2 = {
    "cpu.stat": "usage_usec 1500000\nuser_usec 1000000\nsystem_usec 500000\n"
    "nr_periods 4\nnr_throttled 1\nthrottled_usec 250\nnice_usec 0\n",
    "cpu.pressure": "some avg10=1.50 avg60=0.00 avg300=0.07 total=12345\n"
    "full avg10=0.00 avg60=0.00 avg300=0.00 total=0\n",
    "memory.stat": "anon 8192\nfile 4096\nslab 100\n",
    "memory.current": "20480\n",
    "memory.peak": "40960\n",
    "memory.max": "65536\n",
    "memory.events": "low 0\nhigh 0\nmax 7\noom 1\noom_kill 1\n",
    "memory.swap.current": "1024\n",
    "memory.swap.max": "2048\n",
    "memory.swap.events": "high 0\nmax 3\nfail 0\n",
    "memory.pressure": "some avg10=0.00 avg60=0.00 avg300=0.00 total=9\n",
    "pids.current": "5\n",
    "pids.max": "max\n",
    "io.stat": "8:0 rbytes=4096 wbytes=8192 rios=1 wios=2 dbytes=0 dios=0\n"
    "254:1 rbytes=0 wbytes=512 rios=0 wios=1 dbytes=0 dios=0\n7:0 \n",
    "io.pressure": "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\n"
    "full avg10=100.00 avg60=33.33 avg300=0.50 total=18446744073709551615\n",
    "hugetlb.2MB.max": "max\n",
    "hugetlb.2MB.rsvd.max": "max\n",
    "hugetlb.2MB.current": "2097152\n",
    "hugetlb.2MB.rsvd.current": "4194304\n",
    "hugetlb.2MB.events": "max 6\n",
    "rdma.current": "",
    "misc.current": "sev 1\n",
    "cgroup.procs": "1\n2\n",
}


def tree(top: Path, files: dict[str, str]) -> str:
    top.mkdir(exist_ok=True)
    for name, content in files.items():
        (top / name).write_text(content)
    return str(top)


def v1_paths(top: Path) -> dict[str, str]:
    return {name: tree(top / name, files) for name, files in V1.items()}


def v2_paths(top: Path, **changes: str) -> dict[str, str]:
    return {"": tree(top / "v2", V2 | changes)}


def json_of(stats: dict[str, Any]) -> Any:
    """What `events` prints of counters that have been read."""
    return for_json({**stats, "intel_rdt": {}, "network_interfaces": None})


ZEROS = {
    "cpu": {"usage": {"kernel": 0, "user": 0}, "throttling": {}},
    "cpuset": {
        "cpu_exclusive": 0,
        "mem_hardwall": 0,
        "mem_exclusive": 0,
        "memory_migrate": 0,
        "memory_spread_page": 0,
        "memory_spread_slab": 0,
        "memory_pressure": 0,
        "sched_load_balance": 0,
        "sched_relax_domain_level": 0,
    },
    "memory": {
        "usage": {"limit": 0, "failcnt": 0},
        "swap": {"limit": 0, "failcnt": 0},
        "kernel": {"limit": 0, "failcnt": 0},
        "kernelTCP": {"limit": 0, "failcnt": 0},
    },
    "pids": {},
    "blkio": {},
    "hugetlb": {},
    "intel_rdt": {},
    "network_interfaces": None,
}


def test_v1_in_the_words_of_runc(tmp_path: Path) -> None:
    found = json_of(stat(v1_paths(tmp_path)))
    assert found["cpu"] == {
        "usage": {
            "total": 18446744073709551615,
            "percpu": [111, 222],
            "percpu_kernel": [22, 44],
            "percpu_user": [11, 33],
            "kernel": 50_000_000,
            "user": 70_000_000,
        },
        "throttling": {"periods": 10, "throttledPeriods": 3, "throttledTime": 123456789},
    }
    assert found["cpuset"] == ZEROS["cpuset"] | {
        "cpus": [0, 1, 2, 5],
        "mems": [0],
        "cpu_exclusive": 1,
        "sched_load_balance": 1,
        "sched_relax_domain_level": -1,
    }
    assert list(found["cpuset"]) == ["cpus", "cpu_exclusive", "mems", *list(ZEROS["cpuset"])[1:]]
    assert found["memory"] == {
        "cache": 4096,
        "usage": {"limit": 9223372036854771712, "usage": 12288, "max": 16384, "failcnt": 2},
        "swap": {"limit": 100000, "usage": 12289, "failcnt": 0},
        "kernel": {"limit": 0, "usage": 100, "max": 200, "failcnt": 0},
        "kernelTCP": {"limit": 9223372036854771712, "failcnt": 0},
        "raw": {"cache": 4096, "hierarchical_memory_limit": 9223372036854771712, "rss": 8192},
    }
    assert found["pids"] == {"current": 3, "limit": 100}
    assert found["blkio"] == {
        "ioServiceBytesRecursive": [
            {"major": 8, "op": "Read", "value": 12288},
            {"major": 8, "op": "Total", "value": 12288},
        ],
        "ioServicedRecursive": [
            {"major": 8, "op": "Read", "value": 3},
            {"major": 8, "op": "Write"},
            {"major": 8, "op": "Total", "value": 3},
        ],
    }
    assert found["hugetlb"] == {
        "1GB": {"failcnt": 0},
        "2MB": {"usage": 6291456, "max": 8388608, "failcnt": 4},
    }
    assert found["rdma"] == {
        "current": [{"device": "mlx4_0", "hca_handles": 2, "hca_objects": 20}],
        "limit": [{"device": "mlx4_0", "hca_handles": UNLIMITED, "hca_objects": 2000}],
    }
    assert found["misc"] == {"sev": {"usage": 3, "events": 2}, "sev_es": {"usage": 0, "events": 0}}
    assert [*found] == [*ZEROS, "rdma", "misc"]


def test_v2_in_the_words_of_v1(tmp_path: Path) -> None:
    found = json_of(stat(v2_paths(tmp_path)))
    assert found["cpu"] == {
        "usage": {"total": 1_500_000_000, "kernel": 500_000_000, "user": 1_000_000_000},
        "throttling": {"periods": 4, "throttledPeriods": 1, "throttledTime": 250_000},
        "psi": {
            "some": {"avg10": 1.5, "avg60": 0, "avg300": 0.07, "total": 12345},
            "full": {"avg10": 0, "avg60": 0, "avg300": 0, "total": 0},
        },
    }
    assert found["cpuset"] == ZEROS["cpuset"]
    memory = found["memory"]
    assert memory["cache"] == 4096
    assert memory["usage"] == {"limit": 65536, "usage": 20480, "max": 40960, "failcnt": 7}
    assert memory["swap"] == {"limit": 65536 + 2048, "usage": 20480 + 1024, "failcnt": 3}
    assert memory["kernel"] == memory["kernelTCP"] == {"limit": 0, "failcnt": 0}
    assert memory["raw"] == {"anon": 8192, "file": 4096, "slab": 100}
    assert memory["psi"]["some"]["total"] == 9
    assert memory["psi"]["full"] == {"avg10": 0, "avg60": 0, "avg300": 0, "total": 0}
    assert found["pids"] == {"current": 5}
    assert found["blkio"] == {
        "ioServiceBytesRecursive": [
            {"major": 8, "op": "Read", "value": 4096},
            {"major": 8, "op": "Write", "value": 8192},
            {"major": 254, "minor": 1, "op": "Read"},
            {"major": 254, "minor": 1, "op": "Write", "value": 512},
        ],
        "ioServicedRecursive": [
            {"major": 8, "op": "Read", "value": 1},
            {"major": 8, "op": "Write", "value": 2},
            {"major": 254, "minor": 1, "op": "Read"},
            {"major": 254, "minor": 1, "op": "Write", "value": 1},
        ],
        "psi": {
            "some": {"avg10": 0, "avg60": 0, "avg300": 0, "total": 0},
            "full": {"avg10": 100, "avg60": 33.33, "avg300": 0.5, "total": 18446744073709551615},
        },
    }
    assert found["hugetlb"] == {"2MB": {"usage": 4194304, "failcnt": 6}}
    assert found["misc"] == {"sev": {"usage": 1, "events": 0}}
    assert "rdma" not in found


@pytest.mark.parametrize(
    ("memory", "swap", "both"),
    [
        ("max", "max", UNLIMITED),
        ("4096", "max", UNLIMITED),
        ("max", "4096", UNLIMITED),  # in 64 bits the sum would be 4095
        ("4096", "0", 4096),
    ],
)
def test_v2_limit_of_memory_and_swap(tmp_path: Path, memory: str, swap: str, both: int) -> None:
    paths = v2_paths(tmp_path, **{"memory.max": memory, "memory.swap.max": swap})
    assert stat(paths)["memory"]["swap"]["limit"] == both


def test_v2_without_swap_accounting(tmp_path: Path) -> None:
    paths = v2_paths(tmp_path)
    for name in ("current", "max", "events"):
        os.unlink(f"{paths['']}/memory.swap.{name}")
    swap = stat(paths)["memory"]["swap"]
    assert swap == {"limit": 65536, "usage": 20480, "max": 0, "failcnt": 0}


def test_v2_without_the_pids_controller(tmp_path: Path) -> None:
    paths = v2_paths(tmp_path)
    os.unlink(f"{paths['']}/pids.current")
    os.unlink(f"{paths['']}/pids.max")
    assert stat(paths)["pids"] == {"current": 2, "limit": 0}


@pytest.mark.parametrize("paths", [{}, {"": ""}, {"devices": "/nonexistent"}, {"": "/nonexistent"}])
def test_missing_controllers_are_zeros(paths: dict[str, str]) -> None:
    assert json_of(stat(paths)) == ZEROS


@pytest.mark.parametrize("layout", ["v1", "v2"])
def test_every_key_is_there_for_the_library(tmp_path: Path, layout: str) -> None:
    """Where `events` leaves out, the library has zeros; and both layouts have the same keys."""
    paths = v1_paths(tmp_path) if layout == "v1" else v2_paths(tmp_path)
    assert shape(stat(paths)) == shape(stat({}))


def shape(value: Any, at: str = "") -> set[str]:
    """The paths of all keys, but for what depends on the host."""
    if not isinstance(value, dict) or at in ("/memory/raw", "/hugetlb", "/misc") or "psi" in at:
        return {at}
    return set().union(*(shape(inner, f"{at}/{key}") for key, inner in value.items()))


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (("bfq.", "_recursive"), {"sectorsRecursive", "ioServicedRecursive", "ioTimeRecursive"}),
        (("", "_recursive"), {"sectorsRecursive", "ioServicedRecursive", "ioTimeRecursive"}),
        (("throttle.", ""), {"ioServicedRecursive"}),
    ],
)
def test_blkio_takes_the_files_that_have_something(
    tmp_path: Path, source: tuple[str, str], expected: set[str]
) -> None:
    prefix, suffix = source
    files = {
        f"blkio.{prefix}sectors{suffix}": "8:16 96\n",
        f"blkio.{prefix}io_serviced{suffix}": "8:16 Read 2\n",
        f"blkio.{prefix}time{suffix}": "8:16 5\n",
    }
    found = stat({"blkio": tree(tmp_path / "blkio", files)})["blkio"]
    assert {key for key in found if found[key]} == expected
    if "sectorsRecursive" in expected:
        assert found["sectorsRecursive"] == [{"major": 8, "minor": 16, "op": "", "value": 96}]


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("0", 0),
        ("max", UNLIMITED),
        ("-5", 0),
        ("18446744073709551615", UNLIMITED),
        ("18446744073709551616", UNLIMITED),
        ("9" * 10_000, UNLIMITED),
        (str(2**53 + 1), 2**53 + 1),
    ],
)
def test_a_number_stays_an_integer_of_64_bits(word: str, expected: int) -> None:
    number = counters.as_number(word, "/d", "f")
    assert (number, type(number)) == (expected, int)


@pytest.mark.parametrize("word", ["", "abc", "1_000", "0x10", "1.5", "٣", "1e9", "--1", "\x1b[2J"])
def test_what_is_no_number_is_refused(tmp_path: Path, word: str) -> None:
    tree(tmp_path, {"pids.current": word + "\n"})
    with pytest.raises(SetupError, match=r"reading .*/pids.current: .* is not a number") as caught:
        stat({"pids": str(tmp_path)})
    assert str(caught.value).isprintable()


def test_pressure_that_is_no_number_is_refused(tmp_path: Path) -> None:
    tree(tmp_path, {"cpu.pressure": "some avg10=nan avg60=0.00 avg300=0.00 total=0\n"})
    with pytest.raises(SetupError, match="not a number"):
        counters.pressure(str(tmp_path), "cpu.pressure")


def test_a_file_that_may_not_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "pids.current").mkdir()
    with pytest.raises(SetupError, match=r"reading .*/pids.current: is a directory"):
        stat({"pids": str(tmp_path)})


def test_a_cpuset_cannot_make_a_list_without_end(tmp_path: Path) -> None:
    tree(tmp_path, {"cpuset.cpus": "0-99999999999\n"})
    with pytest.raises(SetupError, match=r"cpuset\.cpus: .* is beyond 32767"):
        stat({"cpuset": str(tmp_path)})


def test_a_cgroup_that_went_away(tmp_path: Path) -> None:
    paths = v1_paths(tmp_path)
    assert is_there(paths)
    (tmp_path / "pids").rename(tmp_path / "elsewhere")
    assert is_there(paths)
    assert not is_there({"pids": paths["pids"], "cpu": "/nonexistent"})
    assert is_there({})
