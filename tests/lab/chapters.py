"""Which tests run in the lab when nobody says: those that need what few machines have.

A test says what it needs (harness/needs.py). It is for the lab when one of its words is in `CURED`,
or when it carries the mark `lab`: it runs anywhere, and what it looks at differs there. A file that
is added later is found the same way.
"""

from __future__ import annotations

import os
import re

import pytest
from harness import machine, needs

# For root, and for an ordinary user below its own systemd.
CURED = {
    "root": ("cgroup v2", "systemd", "apparmor", "criu", "CAP_SYS_RESOURCE"),
    "user": ("delegated",),
}


def files(kind: str) -> list[str]:
    """Test files that may have tests for the lab, relative to the checkout.

    Looking at the text first saves the emulated machine the collection of all the others.
    """
    words = [f'"{word}"' for word in CURED[kind]]
    words += [r"mark\.lab\b"] if kind == "root" else []
    mention = re.compile("|".join(words))
    found = sorted((machine.REPO / "tests").glob("integration/test_*.py"))
    found += sorted((machine.REPO / "tests").glob("rootfs/test_*.py"))
    found += sorted((machine.REPO / "tests").glob("security/test_*.py"))
    return [
        str(path.relative_to(machine.REPO)) for path in found if mention.search(path.read_text())
    ]


def is_for_the_lab(item: pytest.Item) -> bool:
    """Return whether it runs there by default, for the user that we are."""
    kind = "root" if os.geteuid() == 0 else "user"
    if kind == "root" and item.get_closest_marker("lab") is not None:
        return True
    return any(needs.asks_for(item, word) for word in CURED[kind])
