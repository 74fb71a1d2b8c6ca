"""How much of a bar a run takes: samples and small numbers, or all with OCIRUN_BARS=full.

`make bars` runs the tests that ask here in full; docs/robustness.md has what that found.
"""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from typing import TypeVar

Item = TypeVar("Item")

FULL = os.environ.get("OCIRUN_BARS") == "full"


def count(small: int, full: int) -> int:
    """How many of something: `small` in every run, `full` on request."""
    return full if FULL else small


def sample(items: Sequence[Item], small: int, seed: str) -> list[Item]:
    """All items on request, else `small` of them, the same ones in each run."""
    if FULL or len(items) <= small:
        return list(items)
    return random.Random(seed).sample(list(items), small)
