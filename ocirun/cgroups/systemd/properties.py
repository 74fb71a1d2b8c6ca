"""Limits as properties of a unit, so that systemd knows of them and does not undo them.

Not everything has one, and some lose precision (CPUQuota is in whole percents): all limits are
written to the cgroup's files as well, afterwards.

Source: systemd.resource-control(5); org.freedesktop.systemd1(5);
docs/runc-compat/cgroups.md#systemd.
"""

from __future__ import annotations

from ocirun.cgroups.v2.cpu import USUAL_PERIOD_US, weight_of
from ocirun.cgroups.v2.memory import swap_max
from ocirun.errors import SetupError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from ocirun.cgroups.systemd.manager import Property
    from ocirun.spec.types import Cpu, Resources

INFINITY: Final = 2**64 - 1
SECOND_US: Final = 1_000_000
PERCENT_US: Final = 10_000  # one percent of a CPU's second
MOST_CPUS: Final = 8192
UNIFIED_NUMBERS: Final = {
    "memory.high": "MemoryHigh",
    "memory.low": "MemoryLow",
    "memory.min": "MemoryMin",
    "memory.max": "MemoryMax",
    "memory.swap.max": "MemorySwapMax",
    "pids.max": "TasksMax",
    "cpu.weight": "CPUWeight",
}
UNIFIED_LISTS: Final = {"cpuset.cpus": "AllowedCPUs", "cpuset.mems": "AllowedMemoryNodes"}


def unified_properties(resources: Resources) -> list[Property]:
    """Return the properties of a unit on cgroup v2; later ones of a name win.

    Raises:
        SetupError: limits contradict each other, or a list of CPUs is malformed.
    """
    found: dict[str, tuple[str, object]] = {}
    memory = resources.get("memory") or {}
    if limit := memory.get("limit"):
        found["MemoryMax"] = _limit(limit)
    if reservation := memory.get("reservation"):
        found["MemoryLow"] = _limit(reservation)
    swap = swap_max(memory.get("limit") or 0, memory.get("swap") or 0)
    if swap is not None:
        found["MemorySwapMax"] = ("t", INFINITY if swap == "max" else int(swap))
    cpu = resources.get("cpu") or {}
    if shares := cpu.get("shares"):
        found["CPUWeight"] = ("t", weight_of(shares))
    if cpu.get("idle"):
        found["CPUWeight"] = ("t", 0)
    found.update(_quota(cpu.get("quota") or 0, cpu.get("period") or 0))
    found.update(_common(resources))
    found.update(_from_unified(resources.get("unified") or {}))
    return list(found.items())


def split_properties(resources: Resources) -> list[Property]:
    """Return the properties of a unit on cgroup v1.

    Raises:
        SetupError: as unified_properties.
    """
    found: dict[str, tuple[str, object]] = {}
    if limit := (resources.get("memory") or {}).get("limit"):
        found["MemoryLimit"] = _limit(limit)
    cpu: Cpu = resources.get("cpu") or {}
    if shares := cpu.get("shares"):
        found["CPUShares"] = ("t", shares)
    found.update(_quota(cpu.get("quota") or 0, cpu.get("period") or 0))
    if weight := (resources.get("blockIO") or {}).get("weight"):
        found["BlockIOWeight"] = ("t", weight)
    found.update(_common(resources))
    return list(found.items())


def _common(resources: Resources) -> dict[str, tuple[str, object]]:
    found: dict[str, tuple[str, object]] = {}
    pids = resources.get("pids")
    if pids is not None and pids.get("limit") is not None:
        limit = pids["limit"]
        found["TasksMax"] = ("t", INFINITY if limit < 0 else limit or 1)
    cpu = resources.get("cpu") or {}
    if cpus := cpu.get("cpus"):
        found["AllowedCPUs"] = ("ay", bit_array(cpus))
    if mems := cpu.get("mems"):
        found["AllowedMemoryNodes"] = ("ay", bit_array(mems))
    return found


def _limit(bytes_: int) -> tuple[str, object]:
    return "t", INFINITY if bytes_ < 0 else bytes_


def _quota(quota: int, period: int) -> dict[str, tuple[str, object]]:
    """Return the CPU bandwidth: µs in each second, in whole percents and rather too much.

    A container's own cgroups may ask for all that config.json grants, so nothing is cut off.
    """
    found: dict[str, tuple[str, object]] = {}
    if period:
        found["CPUQuotaPeriodUSec"] = ("t", period)
    if quota > 0:
        each_second = quota * SECOND_US // (period or USUAL_PERIOD_US)
        percents = -(-each_second // PERCENT_US)
        found["CPUQuotaPerSecUSec"] = ("t", percents * PERCENT_US)
    elif quota or period:
        found["CPUQuotaPerSecUSec"] = ("t", INFINITY)
    return found


def bit_array(numbers: str) -> bytes:
    """Turn a list like `0-3,7` into systemd's bits: number 0 is the lowest of the first byte.

    Raises:
        SetupError: it is no such list.
    """
    bits = 0
    for part in numbers.strip().split(","):
        first, dash, last = part.strip().partition("-")
        if not (first.isdecimal() and first.isascii() and (not dash or last.isdecimal())):
            raise SetupError(f"cpuset list {numbers!r}: {part!r} is neither a number nor a range")
        start, end = int(first[:9]), int((last or first)[:9])
        if start > end or end >= MOST_CPUS:
            raise SetupError(f"cpuset list {numbers!r}: {part!r} is out of range")
        bits |= (1 << end + 1) - (1 << start)
    return bits.to_bytes((bits.bit_length() + 7) // 8, "little")


def _from_unified(unified: dict[str, str]) -> dict[str, tuple[str, object]]:
    """Translate raw files that have a property; a malformed value is left to the kernel."""
    found: dict[str, tuple[str, object]] = {}
    for name, value in unified.items():
        number = _number(value)
        if name in UNIFIED_NUMBERS and number is not None:
            found[UNIFIED_NUMBERS[name]] = ("t", number)
        elif name in UNIFIED_LISTS and value.strip():
            found[UNIFIED_LISTS[name]] = ("ay", bit_array(value))
        elif name == "cpu.max":
            quota, _, period = value.strip().partition(" ")
            most, length = _number(quota), _number(period or str(USUAL_PERIOD_US))
            if most is not None and length not in (None, 0, INFINITY):
                found.update(_quota(-1 if most == INFINITY else most, length or 0))
        elif name == "cpu.idle" and number == 1:
            found["CPUWeight"] = ("t", 0)
    return found


def _number(text: str) -> int | None:
    word = text.strip()
    if word == "max":
        return INFINITY
    return int(word) if word.isascii() and word.isdecimal() and len(word) < 20 else None
