"""docs/dependencies.md has every package that an installation brings along."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, requires

from harness.machine import REPO

ROWS = re.findall(r"^\| ([\w, -]+) \|", (REPO / "docs/dependencies.md").read_text(), re.MULTILINE)
DESCRIBED = {name for row in ROWS for name in row.split(", ")} - {"package", "---"}


def names(package: str) -> set[str]:
    """The packages that `package` requires without extras, under names as PyPI spells them."""
    found = set()
    for line in requires(package) or ():
        name = re.match(r"[\w.-]+", line)
        if name and "extra ==" not in line and "platform_system" not in line:
            found.add(re.sub(r"[-_.]+", "-", name[0]).lower())
    return found


def closure(package: str) -> set[str]:
    found: set[str] = set()
    queue = [package]
    while queue:
        try:
            more = names(queue.pop()) - found
        except PackageNotFoundError:  # for another Python or system
            continue
        found |= more
        queue += more
    return found


def test_each_package_is_described() -> None:
    installed = closure("ocirun")
    assert "cffi" in installed
    assert installed - DESCRIBED == set()


def test_no_package_is_described_that_nothing_brings() -> None:
    assert DESCRIBED - closure("ocirun") <= {"click"}  # of older releases of typer
