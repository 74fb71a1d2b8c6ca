"""Numbers of the command line: plain ones, and sizes of memory as people write them.

Source: runc-update(8); github.com/docker/go-units, RAMInBytes.
"""

from __future__ import annotations

from ocirun.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

UNITS: Final = {"": 0, "k": 10, "m": 20, "g": 30, "t": 40, "p": 50}
MOST: Final = 2**63 - 1


def whole_number(text: str, name: str) -> int:
    """Read a decimal number, which may be negative.

    Raises:
        UsageError: it is none; says which flag, `name`, it was for.
    """
    digits = text[1:] if text[:1] == "-" else text
    if not (digits.isascii() and digits.isdecimal() and len(digits) <= 20):
        raise UsageError(f"invalid value for {name}: {text!r} is not a whole number")
    return int(text)


def parse_size(text: str, name: str) -> int:
    """Read a size in bytes: `512m`, `1.5 GiB`, a plain number, or -1 for no limit.

    Units are powers of 1024 and may be followed by b or ib; no size passes through a float.

    Raises:
        UsageError: it is none; says which flag, `name`, it was for.
    """
    if text == "-1":
        return -1
    end = max((index for index, letter in enumerate(text) if letter in "0123456789."), default=-1)
    number, unit = text[: end + 1], text[end + 1 :].strip().lower()
    for suffix in ("ib", "b"):
        if unit.endswith(suffix) and (suffix == "b" or len(unit) == 3):
            unit = unit.removesuffix(suffix)
            break
    whole, _, fraction = number.partition(".")
    if unit not in UNITS or not _is_number(whole, fraction):
        raise UsageError(f"invalid value for {name}: {text!r} is not a size (like 512m)")
    scale: int = 10 ** len(fraction)
    value = (int(whole + fraction) << UNITS[unit]) // scale
    if value > MOST:
        raise UsageError(f"invalid value for {name}: {text!r} is too large")
    return value


def _is_number(whole: str, fraction: str) -> bool:
    digits = whole + fraction
    return digits.isascii() and digits.isdecimal() and len(digits) <= 40
