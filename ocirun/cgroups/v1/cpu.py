"""How much CPU time: v1.

Source: runtime-spec config-linux.md#cpu; kernel scheduler/sched-bwc.rst, sched-rt-group.rst.
"""

from __future__ import annotations

from errno import EINVAL

from ocirun.cgroups.files import has_file, read_value, set_value
from ocirun.errors import SetupError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from ocirun.cgroups.counters import Part
    from ocirun.spec.types import Resources

KEYS: Final = ("shares", "quota", "period", "realtimePeriod", "realtimeRuntime")
BURST: Final = "cpu.cfs_burst_us"


def wants(resources: Resources) -> bool:
    """Return whether CPU time is limited; zeros, except of burst and idle, are "not set"."""
    cpu = resources.get("cpu") or {}
    has_zeros = cpu.get("idle") is not None or cpu.get("burst") is not None
    return has_zeros or any(cpu.get(key) for key in KEYS)


def apply(directory: str, resources: Resources) -> None:
    """Write idle, shares, bandwidth (µs) and real-time limits.

    Raises:
        SetupError: the kernel refused a value, or took another one than was asked for.
    """
    cpu = resources.get("cpu") or {}
    # Order: the kernel refuses the shares of an idle cgroup, so leaving idle comes before them;
    # one that becomes idle has the least there are.
    idle = cpu.get("idle")
    if idle is not None:
        set_value(directory, "cpu.idle", idle)
    if (shares := cpu.get("shares")) and not idle:
        _set_shares(directory, shares)
    _set_bandwidth(directory, cpu.get("period"), cpu.get("quota"), cpu.get("burst"))
    set_realtime(directory, resources)


def set_realtime(directory: str, resources: Resources) -> None:
    """Write the real-time limits (µs).

    Kernel: a cgroup without any takes no process that has real-time priority, so they are also
    written before the container's first process joins.

    Raises:
        SetupError: the kernel refused a value.
    """
    cpu = resources.get("cpu") or {}
    period, runtime = cpu.get("realtimePeriod"), cpu.get("realtimeRuntime")
    _set_together(
        directory,
        [("cpu.rt_period_us", period)] if period else [],
        [("cpu.rt_runtime_us", runtime)] if runtime else [],
    )


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
    """Write period, burst and quota; an absent burst is kept, 0 disables it."""
    first: list[tuple[str, int]] = [("cpu.cfs_period_us", period)] if period else []
    # Kernel: bursts exist from 5.14 on; before, there is nothing to disable.
    if burst or (burst == 0 and has_file(directory, BURST)):
        first.append((BURST, burst))
    _set_together(directory, first, [("cpu.cfs_quota_us", quota)] if quota else [])


def _set_together(
    directory: str, first: list[tuple[str, int]], then: list[tuple[str, int]]
) -> None:
    """Order: of the first ones some are refused while the old one of `then` does not fit them.

    These are written once more, after it.
    """
    again: list[tuple[str, int]] = []
    for file, value in first:
        try:
            set_value(directory, file, value)
        except SetupError as error:
            if error.errno != EINVAL or not then:
                raise
            again.append((file, value))
    for file, value in (*then, *again):
        set_value(directory, file, value)


def stat(directory: str) -> Part:
    """Return how often and how long (ns) the quota held the processes back.

    Raises:
        SetupError: a file cannot be read.
    """
    from ocirun.cgroups.counters import numbers

    found = numbers(directory, "cpu.stat")
    return {
        "periods": found.get("nr_periods", 0),
        "throttledPeriods": found.get("nr_throttled", 0),
        "throttledTime": found.get("throttled_time", 0),
    }
