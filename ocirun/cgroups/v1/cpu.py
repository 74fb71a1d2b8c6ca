"""How much CPU time: v1.

Source: runtime-spec config-linux.md#cpu; kernel scheduler/sched-bwc.rst, sched-rt-group.rst.
"""

from __future__ import annotations

from errno import EINVAL

from ocirun.cgroups.counters import numbers
from ocirun.cgroups.files import read_value, set_value
from ocirun.errors import SetupError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from ocirun.cgroups.counters import Part
    from ocirun.spec.shapes import Resources

KEYS: Final = (
    "shares",
    "quota",
    "period",
    "burst",
    "realtimePeriod",
    "realtimeRuntime",
)


def wants(resources: Resources) -> bool:
    """Tell whether CPU time is shared out or limited; zeros are "not set"."""
    cpu = resources.get("cpu") or {}
    return cpu.get("idle") is not None or any(cpu.get(key) for key in KEYS)


def apply(directory: str, resources: Resources) -> None:
    """Write shares, bandwidth (µs), idle and real-time limits.

    Raises:
        SetupError: the kernel refused a value, or took another one than was asked for.
    """
    cpu = resources.get("cpu") or {}
    if shares := cpu.get("shares"):
        _set_shares(directory, shares)
    _set_bandwidth(directory, cpu.get("period"), cpu.get("quota"), cpu.get("burst"))
    idle = cpu.get("idle")
    if idle is not None:
        set_value(directory, "cpu.idle", idle)
    # Order: the runtime must fit the period, so the period comes first.
    if period := cpu.get("realtimePeriod"):
        set_value(directory, "cpu.rt_period_us", period)
    if runtime := cpu.get("realtimeRuntime"):
        set_value(directory, "cpu.rt_runtime_us", runtime)


def _set_shares(directory: str, shares: int) -> None:
    set_value(directory, "cpu.shares", shares)
    # Kernel: a value out of range is clamped without a word.
    kept = int(read_value(directory, "cpu.shares"))
    if shares > kept:
        raise SetupError(f"the maximum allowed cpu-shares is {kept}")
    if shares < kept:
        raise SetupError(f"the minimum allowed cpu-shares is {kept}")


def _set_bandwidth(
    directory: str, period: int | None, quota: int | None, burst: int | None
) -> None:
    """Order: period and burst are refused while the old quota does not fit; then once more."""
    again: list[tuple[str, int]] = []
    for file, value in (("cpu.cfs_period_us", period), ("cpu.cfs_burst_us", burst)):
        if not value:
            continue
        try:
            set_value(directory, file, value)
        except SetupError as error:
            if error.errno != EINVAL or not quota:
                raise
            again.append((file, value))
    if quota:
        set_value(directory, "cpu.cfs_quota_us", quota)
    for file, value in again:
        set_value(directory, file, value)


def stat(directory: str) -> Part:
    """Give how often and how long (ns) the quota held the processes back.

    Raises:
        SetupError: a file cannot be read.
    """
    found = numbers(directory, "cpu.stat")
    return {
        "periods": found.get("nr_periods", 0),
        "throttledPeriods": found.get("nr_throttled", 0),
        "throttledTime": found.get("throttled_time", 0),
    }
