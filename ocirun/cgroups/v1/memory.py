"""How much memory and swap: v1, where the second limit is the sum of both.

Source: runtime-spec config-linux.md#memory; kernel admin-guide/cgroup-v1/memory.rst.
"""

from __future__ import annotations

import time
from errno import EBUSY

from ocirun.cgroups.files import has_file, read_value, set_value
from ocirun.errors import SetupError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from ocirun.cgroups.counters import Part
    from ocirun.spec.types import Resources

LIMIT: Final = "memory.limit_in_bytes"
SUM_LIMIT: Final = "memory.memsw.limit_in_bytes"
TCP_LIMIT: Final = "memory.kmem.tcp.limit_in_bytes"
LIMIT_TRIES: Final = 5
LIMIT_PAUSE_S: Final = 0.000_5  # doubled each time: 7.5 ms in all
KEYS: Final = ("limit", "swap", "reservation", "disableOOMKiller", "kernelTCP")


def wants(resources: Resources) -> bool:
    """Return whether memory is limited; zeros are "not set", kernel is ignored."""
    memory = resources.get("memory") or {}
    return _swappiness(resources) is not None or any(memory.get(key) for key in KEYS)


def apply(directory: str, resources: Resources) -> None:
    """Write the limits, bytes, -1 for none.

    Raises:
        SetupError: the kernel refused a value, or swappiness is not a percentage.
    """
    memory = resources.get("memory") or {}
    _set_limits(directory, memory.get("limit") or 0, memory.get("swap") or 0)
    if reservation := memory.get("reservation"):
        set_value(directory, "memory.soft_limit_in_bytes", reservation)
    tcp = memory.get("kernelTCP")
    if tcp and has_file(directory, TCP_LIMIT):
        set_value(directory, TCP_LIMIT, tcp)
    if memory.get("disableOOMKiller"):
        set_value(directory, "memory.oom_control", 1)
    swappiness = _swappiness(resources)
    if swappiness is not None:
        _set_swappiness(directory, swappiness)


def enable_killer(directory: str) -> None:
    """Enable the OOM killer again; without it processes wait.

    Apart from `apply`: a new cgroup has a killer, and Docker says so for every container.

    Raises:
        SetupError: the kernel refused.
    """
    set_value(directory, "memory.oom_control", 0)


def _swappiness(resources: Resources) -> int | None:
    """Read the percentage; Docker says -1, also as an unsigned number, for "not set"."""
    swappiness = (resources.get("memory") or {}).get("swappiness")
    return None if swappiness in (None, -1, 2**64 - 1) else swappiness


def _set_limits(directory: str, limit: int, swap: int) -> None:
    """Order: the sum may never be below the memory limit, so the one that grows goes first."""
    if limit == -1 and not swap and has_file(directory, SUM_LIMIT):
        swap = -1
    swap_first = False
    if limit and swap:
        swap_first = swap == -1 or int(read_value(directory, LIMIT)) < swap
    if swap_first:
        _set_when_drained(directory, SUM_LIMIT, swap)
    if limit:
        _set_limit(directory, limit)
    if swap and not swap_first:
        _set_when_drained(directory, SUM_LIMIT, swap)


def _set_limit(directory: str, limit: int) -> None:
    try:
        _set_when_drained(directory, LIMIT, limit)
    except SetupError as error:
        if error.errno != EBUSY:
            raise
        # Kernel: what is used now cannot be pushed out, so a smaller limit cannot hold.
        usage = read_value(directory, "memory.usage_in_bytes")
        peak = read_value(directory, "memory.max_usage_in_bytes")
        message = f"(current usage: {usage}, peak usage: {peak})"
        raise SetupError(f"unable to set memory limit to {limit} {message}", EBUSY) from error


def _set_when_drained(directory: str, name: str, limit: int) -> None:
    """Set a limit; while the usage is above it, wait for what processors have charged ahead.

    Kernel: that is up to 256 KiB each. A refused limit makes all of them give it back, but EBUSY is
    answered before the other processors have done so.
    """
    pause_s = LIMIT_PAUSE_S
    for tries_left in range(LIMIT_TRIES - 1, -1, -1):
        try:
            set_value(directory, name, limit)
        except SetupError as error:
            if error.errno != EBUSY or not tries_left:
                raise
            time.sleep(pause_s)
            pause_s *= 2
        else:
            return


def _set_swappiness(directory: str, swappiness: int) -> None:
    if swappiness > 100:
        message = "(valid range is 0-100)"
        raise SetupError(f"invalid memory swappiness value: {swappiness} {message}")
    set_value(directory, "memory.swappiness", swappiness)


def stat(directory: str) -> Part:
    """Return what is used, was used at most, may be used (bytes), and `memory.stat` as it is.

    `swap` is memory and swap together. Without swap accounting it is all zeros.

    Raises:
        SetupError: a file cannot be read.
    """
    from ocirun.cgroups.counters import numbers

    raw = numbers(directory, "memory.stat")
    return {
        "cache": raw.get("cache", 0),
        "usage": _entry(directory, "memory"),
        "swap": _entry(directory, "memory.memsw"),
        "kernel": _entry(directory, "memory.kmem"),
        "kernelTCP": _entry(directory, "memory.kmem.tcp"),
        "raw": raw,
        "psi": None,
    }


def _entry(directory: str, prefix: str) -> Part:
    from ocirun.cgroups.counters import number

    return {
        "limit": number(directory, f"{prefix}.limit_in_bytes"),
        "usage": number(directory, f"{prefix}.usage_in_bytes"),
        "max": number(directory, f"{prefix}.max_usage_in_bytes"),
        "failcnt": number(directory, f"{prefix}.failcnt"),
    }
