"""Numbers for people: sizes, shares, and small graphs of what was before."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Final

BARS: Final = "▁▂▃▄▅▆▇█"
UNITS: Final = ("B", "K", "M", "G", "T", "P", "E", "Z")
UNKNOWN: Final = "-"


def format_size(size: int | None) -> str:
    """Return a size in about three digits: `0B`, `512B`, `1.5K`, `64M`."""
    if size is None:
        return UNKNOWN
    unit = 0
    while size >= 1024 << (10 * unit) and unit < len(UNITS) - 1:
        unit += 1
    whole = size >> (10 * unit)
    if unit == 0 or whole >= 10:
        return f"{whole}{UNITS[unit]}"
    tenth = (size * 10 >> (10 * unit)) % 10
    return f"{whole}.{tenth}{UNITS[unit]}"


def count(number: int | None, limit: int | None) -> str:
    """Return a number, with its limit if there is one: `3`, `3/64`."""
    if number is None:
        return UNKNOWN
    return f"{number}/{limit}" if limit else str(number)


def rate(size: int | None) -> str:
    """Return a rate, in bytes per second."""
    return UNKNOWN if size is None else f"{format_size(size)}/s"


def share(percent: float | None) -> str:
    """Return a share with one decimal: `12.5%`."""
    return UNKNOWN if percent is None else f"{percent:.1f}%"


def graph(values: Sequence[float], width: int, full: float = 0) -> str:
    """Draw the last `width` values as bars, the newest at the right.

    The highest bar is `full`, or the highest value when that is more.
    """
    shown = values[-width:] if width > 0 else ()
    top = max(full, *shown) if shown else full
    if top <= 0:
        return (BARS[0] * len(shown)).rjust(max(width, 0))
    bars = [BARS[min(int(value * len(BARS) / top), len(BARS) - 1)] for value in shown]
    return "".join(bars).rjust(width)


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Lay out `rows` in columns, two blanks apart; nothing at the end of a line."""
    if not rows:
        return ""
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    lines = ("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)
    return "".join(f"{line}\n" for line in lines)
