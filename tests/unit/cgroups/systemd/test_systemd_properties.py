"""Limits and device rules as systemd gets them."""

from __future__ import annotations

from typing import Any

import pytest

from ocirun.cgroups.systemd import deviceallow
from ocirun.cgroups.systemd.deviceallow import device_properties, read_drivers
from ocirun.cgroups.systemd.properties import bit_array, split_properties, unified_properties
from ocirun.errors import SetupError
from ocirun.spec.devices import DEFAULT_RULES

INFINITY = 2**64 - 1
NOTHING: dict[str, Any] = {"allow": False, "access": "rwm"}
EVERYTHING: dict[str, Any] = {"allow": True, "access": "rwm"}
DEVICES = """Character devices:
  1 mem
  4 /dev/vc/0
  4 tty
136 pts

Block devices:
  7 loop
  8 sd
"""


@pytest.mark.parametrize(
    ("resources", "properties"),
    [
        ({}, {}),
        ({"memory": {"limit": 5}}, {"MemoryMax": 5}),
        ({"memory": {"limit": -1}}, {"MemoryMax": INFINITY, "MemorySwapMax": INFINITY}),
        ({"memory": {"limit": 5, "swap": 5}}, {"MemoryMax": 5, "MemorySwapMax": 0}),
        ({"memory": {"limit": 5, "swap": 7}}, {"MemoryMax": 5, "MemorySwapMax": 2}),
        ({"memory": {"reservation": 3}}, {"MemoryLow": 3}),
        ({"cpu": {"shares": 1024}}, {"CPUWeight": 100}),
        ({"cpu": {"shares": 1024, "idle": 1}}, {"CPUWeight": 0}),
        ({"cpu": {"idle": 0}}, {}),
        ({"cpu": {"quota": 50000}}, {"CPUQuotaPerSecUSec": 500_000}),
        (
            {"cpu": {"quota": 12345, "period": 50000}},
            {"CPUQuotaPeriodUSec": 50000, "CPUQuotaPerSecUSec": 250_000},
        ),
        ({"cpu": {"quota": 1000}}, {"CPUQuotaPerSecUSec": 10_000}),
        ({"cpu": {"quota": 1001}}, {"CPUQuotaPerSecUSec": 20_000}),
        ({"cpu": {"quota": -1}}, {"CPUQuotaPerSecUSec": INFINITY}),
        ({"cpu": {"period": 7}}, {"CPUQuotaPeriodUSec": 7, "CPUQuotaPerSecUSec": INFINITY}),
        ({"pids": {"limit": 7}}, {"TasksMax": 7}),
        ({"pids": {"limit": 0}}, {"TasksMax": 1}),
        ({"pids": {"limit": -1}}, {"TasksMax": INFINITY}),
        (
            {"cpu": {"cpus": "0,9", "mems": "1"}},
            {"AllowedCPUs": b"\1\2", "AllowedMemoryNodes": b"\2"},
        ),
        (
            {"unified": {"memory.min": "7", "memory.max": "max"}},
            {"MemoryMin": 7, "MemoryMax": INFINITY},
        ),
        (
            {"unified": {"cpu.max": "20000 100000\n"}},
            {"CPUQuotaPeriodUSec": 100_000, "CPUQuotaPerSecUSec": 200_000},
        ),
        (
            {"unified": {"cpu.max": "max 50000"}},
            {"CPUQuotaPeriodUSec": 50_000, "CPUQuotaPerSecUSec": INFINITY},
        ),
        ({"unified": {"cpu.idle": "1", "cpu.weight": "7"}}, {"CPUWeight": 7}),
        ({"unified": {"cpuset.cpus": "1-2"}}, {"AllowedCPUs": b"\6"}),
        ({"pids": {"limit": 7}, "unified": {"pids.max": "9"}}, {"TasksMax": 9}),
        # The kernel is to refuse these, in its own words.
        (
            {"unified": {"memory.max": "lots", "pids.max": "-1", "cpu.max": "1 0", "io.max": "x"}},
            {},
        ),
        ({"unified": {"memory.max": "9" * 30, "cpu.max": "", "cpu.weight": "٣"}}, {}),
    ],
)
def test_limits_on_v2(
    resources: Any,  # noqa: ANN401  # as JSON has it
    properties: dict[str, object],
) -> None:
    assert {name: value for name, (_, value) in unified_properties(resources)} == properties


def test_limits_on_v1() -> None:
    found = split_properties(
        {
            "memory": {"limit": 5, "swap": 9},
            "cpu": {"shares": 512, "quota": 50000},
            "blockIO": {"weight": 300},
            "pids": {"limit": 3},
        }
    )
    assert dict(found) == {
        "MemoryLimit": ("t", 5),
        "CPUShares": ("t", 512),
        "CPUQuotaPerSecUSec": ("t", 500_000),
        "BlockIOWeight": ("t", 300),
        "TasksMax": ("t", 3),
    }


def test_contradicting_limits_are_refused() -> None:
    with pytest.raises(SetupError, match="unable to set swap limit without memory limit"):
        unified_properties({"memory": {"swap": 5}})


@pytest.mark.parametrize(
    ("numbers", "bits"),
    [("0", b"\x01"), ("0-7", b"\xff"), ("8", b"\x00\x01"), ("1, 3-4\n", b"\x1a"), ("0-0", b"\x01")],
)
def test_lists_become_bits_the_lowest_first(numbers: str, bits: bytes) -> None:
    assert bit_array(numbers) == bits


@pytest.mark.parametrize(
    "numbers", ["", "a", "1-", "-1", "3-1", "1,,2", "1-2-3", "8192", "0-" + "9" * 5000, "٣", "0x1"]
)
def test_lists_that_are_none_are_refused(numbers: str) -> None:
    with pytest.raises(SetupError, match="cpuset list"):
        bit_array(numbers)


@pytest.fixture(autouse=True)
def drivers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deviceallow, "read_text", lambda _: DEVICES)


def told(rules: list[dict[str, Any]], *, unified: bool = True) -> tuple[str, set[tuple[str, str]]]:
    (_, (_, policy)), (_, (_, allowed)) = device_properties(rules, unified=unified)
    return str(policy), set(allowed)  # type: ignore[call-overload]


def device(
    kind: str, major: int, minor: int, access: str = "rwm", *, allow: bool = True
) -> dict[str, Any]:
    return {"allow": allow, "type": kind, "major": major, "minor": minor, "access": access}


def test_the_usual_devices_can_all_be_said() -> None:
    policy, allowed = told([NOTHING, *DEFAULT_RULES])  # type: ignore[list-item]
    assert policy == "strict"
    assert {
        ("/dev/char/1:3", "rwm"),
        ("char-pts", "rwm"),
        ("char-*", "m"),
        ("block-*", "m"),
    } <= allowed


def test_a_whole_driver_has_the_first_name_of_its_number() -> None:
    assert told([device("c", 4, -1, "r"), device("b", 8, -1)])[1] == {
        ("char-/dev/vc/0", "r"),
        ("block-sd", "rwm"),
    }
    assert read_drivers(DEVICES)["b", 7] == "loop"


@pytest.mark.parametrize("unified", [True, False])
def test_everything_is_no_policy(unified: bool) -> None:
    assert told([EVERYTHING], unified=unified) == ("auto", set())


@pytest.mark.parametrize(
    "rules",
    [
        [EVERYTHING, device("c", 1, 3, allow=False)],  # an exception from everything
        [NOTHING, device("c", -1, 3)],  # any driver, one minor
        [NOTHING, device("c", 77, -1)],  # a driver that is not there
        [NOTHING, device("c", 4, -1), device("c", 4, 1, allow=False)],  # a hole
    ],
)
def test_what_systemd_cannot_say_is_left_to_the_program_and_denied_on_v1(
    rules: list[dict[str, Any]],
) -> None:
    both = [*rules, device("c", 1, 5)]
    assert told(both) == ("auto", set())
    policy, allowed = told(both, unified=False)
    assert policy == "strict"
    assert allowed <= {("/dev/char/1:5", "rwm")}
