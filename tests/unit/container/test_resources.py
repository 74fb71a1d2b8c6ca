"""What an update remembers, writes and takes back; no kernel."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from ocirun.container.resources import given_part, to_restore, to_write, with_given

NOW: dict[str, Any] = {
    "devices": [{"allow": False, "access": "rwm"}],
    "memory": {"limit": 64, "swap": 128, "reservation": 32, "swappiness": 10},
    "cpu": {"shares": 512, "quota": 50000, "period": 100000, "cpus": "0", "burst": 100},
    "pids": {"limit": 20},
    "blockIO": {
        "weight": 100,
        "throttleReadBpsDevice": [
            {"major": 8, "minor": 0, "rate": 1000},
            {"major": 8, "minor": 16, "rate": 2000},
        ],
        "weightDevice": [{"major": 8, "minor": 0, "weight": 100, "leafWeight": 50}],
    },
    "hugepageLimits": [{"pageSize": "2MB", "limit": 4}],
    "network": {"classID": 1, "priorities": [{"name": "lo", "priority": 1}]},
    "rdma": {"mlx5_0": {"hcaHandles": 3, "hcaObjects": 5}},
    "unified": {"memory.high": "48"},
}


def updated(document: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Return what differs from NOW afterwards (by section), is written, and is written back."""
    before = deepcopy(NOW)
    given = given_part(document)  # type: ignore[arg-type]
    after = with_given(before, given)  # type: ignore[arg-type]
    writes = to_write(given, after)
    restored = to_restore(writes, before)  # type: ignore[arg-type]
    assert before == NOW, "what is in force was changed before it was written"
    changed = {name: value for name, value in after.items() if value != NOW.get(name)}
    return changed, dict(writes), dict(restored)


def test_nothing_given_is_nothing_done() -> None:
    nothing: dict[str, Any]
    for nothing in (
        {},
        {"memory": {}, "cpu": {}},
        {"memory": {"limit": 0, "swap": 0}, "cpu": {"shares": 0, "cpus": ""}},
        {"blockIO": {"weight": 0}, "network": {"classID": 0}, "unified": {}},
    ):
        assert updated(nothing) == ({}, {}, {})


def test_rules_of_devices_stay() -> None:
    assert updated({"devices": [{"allow": True, "access": "rwm"}]}) == ({}, {}, {})


def test_memory_goes_with_what_is_known_of_swap() -> None:
    changed, writes, restored = updated({"memory": {"limit": 100}})
    assert changed == {"memory": {**NOW["memory"], "limit": 100}}
    assert writes == {"memory": {"limit": 100, "swap": 128}}
    assert restored == {"memory": {"limit": 64, "swap": 128}}


def test_no_limit_on_memory_leaves_none_on_both() -> None:
    changed, writes, restored = updated({"memory": {"limit": -1}})
    assert changed == {"memory": {"limit": -1, "reservation": 32, "swappiness": 10}}
    assert writes == {"memory": {"limit": -1}}
    assert restored == {"memory": {"limit": 64}}
    assert updated({"memory": {"limit": -1, "swap": -1}})[1] == {
        "memory": {"limit": -1, "swap": -1}
    }


@pytest.mark.parametrize(
    ("given", "written"),
    [
        ({"quota": 20000}, {"quota": 20000, "period": 100000}),
        ({"period": 40000}, {"quota": 50000, "period": 40000}),
        ({"quota": 20000, "period": 0}, {"quota": 20000, "period": 100000}),
        ({"quota": -1}, {"quota": -1, "period": 100000}),
        ({"shares": 100}, {"shares": 100}),
        ({"burst": 0}, {"burst": 0}),
        ({"cpus": "0-1"}, {"cpus": "0-1"}),
    ],
)
def test_half_of_a_pair_brings_the_other(given: dict[str, Any], written: dict[str, Any]) -> None:
    changed, writes, _ = updated({"cpu": given})
    assert writes == {"cpu": written}
    assert changed.get("cpu", NOW["cpu"]) == {**NOW["cpu"], **written}


def test_an_idle_container_has_no_shares() -> None:
    changed, writes, restored = updated({"cpu": {"idle": 1}})
    assert "shares" not in changed["cpu"]
    assert writes == {"cpu": {"idle": 1}}
    assert restored == {"cpu": {"idle": 0}}
    assert updated({"cpu": {"idle": 0, "shares": 7}})[0]["cpu"]["shares"] == 7


def test_devices_are_one_entry_each() -> None:
    throttles = [{"major": 8, "minor": 16, "rate": 5}, {"major": 9, "minor": 0, "rate": 6}]
    weights = [{"major": 8, "minor": 0, "weight": 300}]
    changed, writes, restored = updated(
        {"blockIO": {"throttleReadBpsDevice": throttles, "weightDevice": weights}}
    )
    assert changed["blockIO"] == {
        "weight": 100,
        "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 1000}, *throttles],
        "weightDevice": [{"major": 8, "minor": 0, "weight": 300, "leafWeight": 50}],
    }
    assert writes == {"blockIO": {"throttleReadBpsDevice": throttles, "weightDevice": weights}}
    assert restored["blockIO"]["throttleReadBpsDevice"] == [
        {"major": 8, "minor": 16, "rate": 2000},
        {"major": 9, "minor": 0, "rate": 0},
    ]


@pytest.mark.parametrize(
    ("given", "after", "restored"),
    [
        ({"pids": {"limit": 0}}, {"limit": 0}, {"pids": {"limit": 20}}),
        (
            {"hugepageLimits": [{"pageSize": "2MB", "limit": 0}, {"pageSize": "1GB", "limit": 1}]},
            [{"pageSize": "2MB", "limit": 0}, {"pageSize": "1GB", "limit": 1}],
            {"hugepageLimits": [{"pageSize": "2MB", "limit": 4}]},
        ),
        (
            {"network": {"priorities": [{"name": "eth0", "priority": 2}]}},
            {
                "classID": 1,
                "priorities": [{"name": "lo", "priority": 1}, {"name": "eth0", "priority": 2}],
            },
            {"network": {"priorities": []}},
        ),
        (
            {"rdma": {"mlx5_0": {"hcaObjects": 0}}},
            {"mlx5_0": {"hcaHandles": 3, "hcaObjects": 0}},
            {"rdma": {"mlx5_0": {"hcaHandles": 3, "hcaObjects": 5}}},
        ),
        (
            {"unified": {"memory.high": "max", "cpu.weight": "7"}},
            {"memory.high": "max", "cpu.weight": "7"},
            {"unified": {"memory.high": "48"}},
        ),
        (
            {"memory": {"swappiness": 0, "disableOOMKiller": False}},
            {**NOW["memory"], "swappiness": 0, "disableOOMKiller": False},
            {"memory": {"swappiness": 10, "disableOOMKiller": False}},
        ),
    ],
    ids=["pids", "hugetlb", "network", "rdma", "unified", "memory"],
)
def test_every_other_section(given: Any, after: Any, restored: Any) -> None:  # noqa: ANN401
    changed, writes, taken_back = updated(given)
    (section,) = given
    assert changed[section] == after
    assert writes == given
    assert taken_back == restored


def test_what_was_not_limited_is_not_limited_again() -> None:
    given: dict[str, Any] = {
        "memory": {"limit": 1, "swap": 2},
        "cpu": {"quota": 1, "shares": 2, "burst": 3},
        "pids": {"limit": 4},
    }
    assert to_restore(given, {}) == {  # type: ignore[arg-type]
        "memory": {"limit": -1, "swap": -1},
        "cpu": {"quota": -1, "shares": 1024, "burst": 0},
        "pids": {"limit": -1},
    }
