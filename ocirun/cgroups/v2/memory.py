"""How much memory and swap: v2, where swap has a limit of its own.

Swappiness and disableOOMKiller have no counterpart here and are left out, as runc does; so are
the deprecated kernel limits.

Source: runtime-spec config-linux.md#memory; kernel admin-guide/cgroup-v2.rst, memory.max.
"""

from __future__ import annotations

from errno import ENOENT

from ocirun.cgroups.files import has_file, read_value, set_value
from ocirun.errors import SetupError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from ocirun.cgroups.counters import Part
    from ocirun.spec.types import Resources

KEYS: Final = ("limit", "swap", "reservation")


def wants(resources: Resources) -> bool:
    """Return whether memory is limited; zeros are "not set"."""
    memory = resources.get("memory") or {}
    return any(memory.get(key) for key in KEYS)


def apply(directory: str, resources: Resources) -> None:
    """Write the limits, bytes, -1 for none.

    Raises:
        SetupError: the numbers contradict each other, are below what is used now (where the
            config asks to check), or the kernel refused.
    """
    memory = resources.get("memory") or {}
    limit, swap = memory.get("limit") or 0, memory.get("swap") or 0
    if memory.get("checkBeforeUpdate"):
        _check_usage(directory, limit, swap)
    swap_text = swap_max(limit, swap)
    if swap_text is not None:
        _set_swap(directory, swap_text)
    if limit:
        set_value(directory, "memory.max", _text(limit))
    if reservation := memory.get("reservation"):
        set_value(directory, "memory.low", _text(reservation))


def swap_max(limit: int, swap: int) -> str | None:
    """Compute memory.swap.max from the memory limit and the limit on both together.

    None when it is not to be touched. Equal limits mean no swap at all: a real "0".

    Raises:
        SetupError: a sum without a memory limit, or below it.
    """
    if swap == -1 or (limit == -1 and not swap):
        return "max"
    if not swap:
        return None
    if limit in (0, -1):
        raise SetupError("unable to set swap limit without memory limit")
    if limit < 0:
        raise SetupError(f"invalid memory value: {limit}")
    if swap < limit:
        raise SetupError("memory+swap limit should be >= memory limit")
    return str(swap - limit)


def _set_swap(directory: str, value: str) -> None:
    try:
        set_value(directory, "memory.swap.max", value)
    except SetupError as error:
        # Kernel: without swap support there is no file, and nothing to limit.
        if error.errno != ENOENT or value not in ("max", "0"):
            raise


def _check_usage(directory: str, limit: int, swap: int) -> None:
    """Kernel: a limit below the usage makes it kill processes; refuse while it can be seen."""
    if limit <= 0 and swap <= 0:
        return
    try:
        usage = int(read_value(directory, "memory.current"))
    except OSError:
        return  # best effort: the cgroup does not say, so nothing is known against the limit
    if 0 < swap <= usage:
        raise SetupError(f"rejecting memory+swap limit {swap} <= usage {usage}")
    if 0 < limit <= usage:
        raise SetupError(f"rejecting memory limit {limit} <= usage {usage}")


def _text(limit: int) -> str:
    return "max" if limit == -1 else str(limit)


def stat(directory: str) -> Part:
    """Return what is used, was used at most, may be used (bytes), and `memory.stat` as it is.

    `swap` is memory and swap together, as on v1; the most that both used together is not known.
    Kernel memory is not counted apart.

    Raises:
        SetupError: a file cannot be read.
    """
    from ocirun.cgroups.counters import UNLIMITED, numbers, pressure

    raw = numbers(directory, "memory.stat")
    usage, swap = _entry(directory, "memory"), _entry(directory, "memory.swap")
    if has_file(directory, "memory.swap.current"):
        swap["usage"] += usage["usage"]
        swap["limit"] = min(swap["limit"] + usage["limit"], UNLIMITED)
    else:  # no swap accounting: memory is all there is
        swap["usage"], swap["limit"] = usage["usage"], usage["limit"]
    return {
        "cache": raw.get("file", 0),
        "usage": usage,
        "swap": {**swap, "max": 0},
        "kernel": dict.fromkeys(usage, 0),
        "kernelTCP": dict.fromkeys(usage, 0),
        "raw": raw,
        "psi": pressure(directory, "memory.pressure"),
    }


def _entry(directory: str, prefix: str) -> Part:
    from ocirun.cgroups.counters import number, numbers

    return {
        "limit": number(directory, f"{prefix}.max"),
        "usage": number(directory, f"{prefix}.current"),
        "max": number(directory, f"{prefix}.peak"),  # Kernel: from 5.19, for swap from 6.5
        "failcnt": numbers(directory, f"{prefix}.events").get("max", 0),
    }
