"""How much CPU time: v2.

Real-time limits have no counterpart here and are left out, as runc does.

Source: runtime-spec config-linux.md#cpu; kernel admin-guide/cgroup-v2.rst, cpu.weight, cpu.max.
"""

from __future__ import annotations

from errno import EINVAL

from ocirun.cgroups.files import has_file, set_value
from ocirun.errors import SetupError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from ocirun.cgroups.counters import Part
    from ocirun.spec.types import Resources

KEYS: Final = ("shares", "quota", "period")
BURST: Final = "cpu.max.burst"
USUAL_PERIOD_US: Final = 100_000
LEAST_SHARES, MOST_SHARES = 2, 262_144
LEAST_WEIGHT, MOST_WEIGHT = 1, 10_000


def wants(resources: Resources) -> bool:
    """Return whether CPU time is limited; zeros, except of burst and idle, are "not set"."""
    cpu = resources.get("cpu") or {}
    has_zeros = cpu.get("idle") is not None or cpu.get("burst") is not None
    return has_zeros or any(cpu.get(key) for key in KEYS)


def apply(directory: str, resources: Resources) -> None:
    """Write idle, weight and bandwidth (µs).

    Raises:
        SetupError: the kernel refused a value.
    """
    cpu = resources.get("cpu") or {}
    # Order: the kernel refuses the weight of an idle cgroup, so leaving idle comes before it; one
    # that becomes idle has the least there is.
    idle = cpu.get("idle")
    if idle is not None:
        set_value(directory, "cpu.idle", idle)
    if (shares := cpu.get("shares")) and not idle:
        set_value(directory, "cpu.weight", weight_of(shares))
    _set_bandwidth(directory, cpu.get("period"), cpu.get("quota"), cpu.get("burst"))


def weight_of(shares: int) -> int:
    """Convert v1 shares (2 to 262144, 1024 usual) to a v2 weight (1 to 10000, 100 usual).

    A curve through the ends and the middle of both ranges, so that the usual value of one is the
    usual value of the other: 2→1, 1024→100, 262144→10000. This is the one place where a limit
    passes through a float: the result is small, and exact at those points.

    Source: kernel admin-guide/cgroup-v2.rst, cpu.weight;
    docs/runc-compat/cgroups.md#conversion-of-resources.
    """
    if shares <= LEAST_SHARES:
        return LEAST_WEIGHT
    if shares >= MOST_SHARES:
        return MOST_WEIGHT
    from math import ceil, log2  # only this needs it

    length = log2(shares)
    return ceil(10 ** ((length * length + 125 * length) / 612 - 7 / 34))


def _set_bandwidth(
    directory: str, period: int | None, quota: int | None, burst: int | None
) -> None:
    """Order: the burst is refused while the old quota does not hold it; then once more."""
    burst_again = False
    # Kernel: bursts exist from 5.14 on; before, there is nothing to disable.
    if burst or (burst == 0 and has_file(directory, BURST)):
        try:
            set_value(directory, BURST, burst)
        except SetupError as error:
            if error.errno != EINVAL or not quota:
                raise
            burst_again = True
    if quota or period:
        most = quota if quota and quota > 0 else "max"
        set_value(directory, "cpu.max", f"{most} {period or USUAL_PERIOD_US}")
    if burst and burst_again:
        set_value(directory, BURST, burst)


def stat(directory: str) -> Part:
    """Return the time used (ns) and how the quota held the processes back.

    Kernel: `cpu.stat` is there without the controller too, and counts in µs; the time of each
    processor is not kept.

    Raises:
        SetupError: a file cannot be read.
    """
    from ocirun.cgroups.counters import NS_PER_US, numbers, pressure

    found = numbers(directory, "cpu.stat")
    return {
        "usage": {
            "total": found.get("usage_usec", 0) * NS_PER_US,
            "percpu": [],
            "percpu_kernel": [],
            "percpu_user": [],
            "kernel": found.get("system_usec", 0) * NS_PER_US,
            "user": found.get("user_usec", 0) * NS_PER_US,
        },
        "throttling": {
            "periods": found.get("nr_periods", 0),
            "throttledPeriods": found.get("nr_throttled", 0),
            "throttledTime": found.get("throttled_usec", 0) * NS_PER_US,
        },
        "psi": pressure(directory, "cpu.pressure"),
    }
