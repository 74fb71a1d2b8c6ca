"""Which tests run in the lab when nobody says: those that need what few machines have.

A test says what it needs (harness/needs.py). It is for the lab when one of its words is in `CURED`,
or when it carries the mark `lab`: it runs anywhere, and what it looks at differs there. A file that
is added later is found the same way.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from harness import machine

CURED = ("cgroup v2", "systemd", "apparmor", "criu", "delegated", "CAP_SYS_RESOURCE")
MENTION = re.compile("|".join([*(f'"{word}"' for word in CURED), r"mark\.lab\b"]))


def files() -> list[str]:
    """Test files that may have tests for the lab, relative to the checkout.

    Looking at the text first saves the emulated machine the collection of all the others.
    """
    found = sorted((machine.REPO / "tests/integration").glob("test_*.py"))
    return [str(path.relative_to(machine.REPO)) for path in found if _mentions(path)]


def _mentions(path: Path) -> bool:
    return MENTION.search(path.read_text()) is not None


def is_for_the_lab(item: pytest.Item) -> bool:
    needed = {word for mark in item.iter_markers("needs") for word in mark.args}
    return bool(needed.intersection(CURED)) or item.get_closest_marker("lab") is not None
