"""Durations as Go writes them: `5s`, `1m30s`, `500ms`, `1.5h`.

Source: pkg.go.dev/time#ParseDuration.
"""

from __future__ import annotations

from ocirun.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

UNITS_NS: Final = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "μs": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}
MOST_NS: Final = 2**63 - 1
MOST_LETTERS: Final = 100  # nobody needs more, and integers of any length are slow to read
DIGITS: Final = frozenset("0123456789")


def nanoseconds(text: str, option: str) -> int:
    """Read the duration that `text`, the value of `option`, is.

    Raises:
        UsageError: it is malformed; the message is that of Go's flag package.
    """
    found = _read(text) if len(text) <= MOST_LETTERS else None
    if found is None or found > MOST_NS:
        shown = text if text.isprintable() else ascii(text)[1:-1]
        raise UsageError(f'invalid value "{shown}" for flag -{option}: parse error')
    return -found if text[:1] == "-" else found


def _read(text: str) -> int | None:
    """Read a duration without its sign; None if it is malformed."""
    rest = text[1:] if text[:1] in ("-", "+") else text
    if rest == "0":
        return 0
    if not rest:
        return None
    total = 0
    while rest:
        whole, rest = _span(rest, digits=True)
        decimals = ""
        if rest[:1] == ".":
            decimals, rest = _span(rest[1:], digits=True)
        unit, rest = _span(rest, digits=False)
        if not (whole or decimals) or unit not in UNITS_NS:
            return None
        # In integers: a limit or a time never passes through a float here.
        total += int((whole + decimals) or "0") * UNITS_NS[unit] // 10 ** len(decimals)
    return total


def _span(text: str, *, digits: bool) -> tuple[str, str]:
    """Split off the digits that `text` begins with, or what is neither digit nor point."""
    at = 0
    while at < len(text) and (text[at] in DIGITS if digits else text[at] not in DIGITS | {"."}):
        at += 1
    return text[:at], text[at:]
