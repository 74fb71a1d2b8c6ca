"""What a class of service has and what its monitoring counts, from a recorded resctrl tree."""

from __future__ import annotations

from pathlib import Path

import pytest

from ocirun.container.stats import for_json
from ocirun.errors import SetupError
from ocirun.resctrl import stat as resctrl_stat
from ocirun.resctrl.stat import stat

FILES = {
    "schemata": "    L3:0=7ff;1=7ff\n    MB:0=100;1=100\n",
    "info/L3/cbm_mask": "7ff\n",
    "info/L3/min_cbm_bits": "1\n",
    "info/L3/num_closids": "16\n",
    "info/MB/bandwidth_gran": "10\n",
    "info/MB/delay_linear": "1\n",
    "info/MB/min_bandwidth": "10\n",
    "info/MB/num_closids": "8\n",
    "info/L3_MON/mon_features": "llc_occupancy\nmbm_total_bytes\nmbm_local_bytes\n",
    "box/schemata": "    L3:0=f;1=f\n    MB:0=20;1=70\n",
    "box/mon_data/mon_L3_00/mbm_total_bytes": "9000000000000000001\n",
    "box/mon_data/mon_L3_00/mbm_local_bytes": "7\n",
    "box/mon_data/mon_L3_00/llc_occupancy": "123\n",
    "box/mon_data/mon_L3_01/mbm_total_bytes": "Unavailable\n",
    "box/mon_data/mon_L3_01/mbm_local_bytes": "0\n",
    "box/mon_data/mon_L3_01/llc_occupancy": "Error\n",
    "box/mon_groups/box/mon_data/mon_L3_00/mbm_total_bytes": "5\n",
    "box/mon_groups/box/mon_data/mon_L3_00/mbm_local_bytes": "4\n",
    "box/mon_groups/box/mon_data/mon_L3_00/llc_occupancy": "3\n",
}


@pytest.fixture
def top(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, content in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    monkeypatch.setattr(resctrl_stat, "find_resctrl", lambda: str(tmp_path))
    return tmp_path


def test_a_class_and_its_monitoring(top: Path) -> None:
    assert stat(f"{top}/box", "") == {
        "l3_cache_info": {"cbm_mask": "7ff", "min_cbm_bits": 1, "num_closids": 16},
        "mem_bw_info": {
            "bandwidth_gran": 10,
            "delay_linear": 1,
            "min_bandwidth": 10,
            "num_closids": 8,
        },
        "l3_cache_schema_root": "L3:0=7ff;1=7ff",
        "l3_cache_schema": "L3:0=f;1=f",
        "mem_bw_schema_root": "MB:0=100;1=100",
        "mem_bw_schema": "MB:0=20;1=70",
        "schemata": ["L3:0=f;1=f", "MB:0=20;1=70"],
        "mbm_stats": [
            {"mbm_total_bytes": 9000000000000000001, "mbm_local_bytes": 7},
            {"mbm_total_bytes": 0, "mbm_local_bytes": 0},
        ],
        "cmt_stats": [{"llc_occupancy": 123}, {"llc_occupancy": 0}],
    }


def test_a_monitoring_group_counts_for_the_container_alone(top: Path) -> None:
    found = stat(f"{top}/box", f"{top}/box/mon_groups/box")
    assert found["mbm_stats"] == [{"mbm_total_bytes": 5, "mbm_local_bytes": 4}]
    assert found["cmt_stats"] == [{"llc_occupancy": 3}]


def test_only_what_the_processor_counts(top: Path) -> None:
    (top / "info/L3_MON/mon_features").write_text("llc_occupancy\n")
    found = stat(f"{top}/box", "")
    assert (found["mbm_stats"], found["cmt_stats"][0]) == ([], {"llc_occupancy": 123})


def test_a_class_that_went_away(top: Path) -> None:
    found = stat(f"{top}/gone", "")
    assert (found["l3_cache_schema"], found["mbm_stats"], found["cmt_stats"]) == ("", [], [])


def test_monitoring_that_cannot_be_listed(top: Path) -> None:
    (top / "box2").mkdir()
    (top / "box2/mon_data").write_text("")
    with pytest.raises(SetupError, match="mon_data: not a directory"):
        stat(f"{top}/box2", "")


def test_a_container_without_a_class(top: Path) -> None:
    assert stat("", "") == {}
    assert top.is_dir()


def test_json_leaves_out_what_is_not_there(top: Path) -> None:
    from ocirun.cgroups.stat import stat as cgroup_stat

    (top / "info/L3/min_cbm_bits").write_text("0\n")
    for name in ("bandwidth_gran", "delay_linear", "min_bandwidth", "num_closids"):
        (top / f"info/MB/{name}").unlink()
    (top / "info/MB").rmdir()
    (top / "info/L3_MON/mon_features").write_text("")
    (top / "box/schemata").write_text("L3:0=f\n")
    rdt = stat(f"{top}/box", "")
    shown = for_json({**cgroup_stat({}), "intel_rdt": rdt, "network_interfaces": None})
    assert shown["intel_rdt"] == {
        "l3_cache_info": {"cbm_mask": "7ff", "num_closids": 16},
        "l3_cache_schema_root": "L3:0=7ff;1=7ff",
        "l3_cache_schema": "L3:0=f",
        "mem_bw_schema_root": "MB:0=100;1=100",
        "schemata": ["L3:0=f"],
    }
