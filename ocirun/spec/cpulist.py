"""Lists of CPUs and memory nodes: "0-3,7".

Source: cpuset(7), "List format"; docs/runc-compat/init.md#cpu-lists.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

# Kernel: set_mempolicy(2) reads a page of node bits at most; no kernel can have more CPUs either.
MAX_NUMBER: Final = 32767


def bits_of(text: str) -> int:
    """Return the numbers of a list as a mask: bit n stands for n. An empty list is 0.

    Raises:
        ValueError: with a sentence on the part that is wrong.
    """
    mask = 0
    for part in text.split(","):
        words = part.strip()
        if not words:
            continue
        first, dash, last = words.partition("-")
        low = _number(first, words)
        high = _number(last, words) if dash else low
        if high < low:
            raise ValueError(f'"{words}" ends before it begins')
        mask |= (1 << high + 1) - (1 << low)
    return mask


def numbers_of(text: str) -> list[int]:
    """Return the numbers of a list, ascending and each once.

    Raises:
        ValueError: with a sentence on the part that is wrong.
    """
    mask = bits_of(text)
    return [number for number in range(mask.bit_length()) if mask >> number & 1]


def _number(digits: str, part: str) -> int:
    digits = digits.strip()
    if not (digits.isascii() and digits.isdigit()):
        raise ValueError(f'"{part}" is not a number or a range of numbers')
    if len(digits.lstrip("0")) > 5 or int(digits) > MAX_NUMBER:
        raise ValueError(f'"{part}" is beyond {MAX_NUMBER}')
    return int(digits)
