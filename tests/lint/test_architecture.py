"""The map of ARCHITECTURE.md and what other pages name exist, and no package is missing."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from harness.machine import REPO

PACKAGE = REPO / "ocirun"
TESTS = REPO / "tests"
PAGE = (REPO / "ARCHITECTURE.md").read_text()


def the_map() -> list[str]:
    found = re.search(r"## The map\n\n```\n(.+?)```", PAGE, re.DOTALL)
    assert found is not None
    return found[1].splitlines()


def test_the_map_has_every_package() -> None:
    named = {line.split()[0].rstrip("/") for line in the_map() if not line.startswith(" ")}
    packages = {place.parent.name for place in PACKAGE.glob("*/__init__.py")}
    assert named - {"aio.py", "errors.py"} == packages
    assert (PACKAGE / "aio.py").exists()
    assert (PACKAGE / "errors.py").exists()


def test_modules_on_the_map_exist() -> None:
    package, missing = "", []
    for line in the_map():
        if not line.startswith(" "):
            package = line.split()[0].rstrip("/")
            continue
        names, _, _ = line.strip().partition("  ")
        for name in names.split():
            place = PACKAGE / package / name.rstrip("/")
            if not place.is_dir() and not place.with_suffix(".py").exists():
                missing.append(f"{package}/{name}")
    assert not missing


PAGES = sorted({*REPO.glob("*.md"), *REPO.glob("docs/**/*.md")} - {REPO / "CHANGELOG.md"})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_a_page_names_exist(page: Path) -> None:
    named = re.findall(r"`((?:[a-z_]+/)+[a-z_]+\.(?:py|c|h))`", page.read_text())
    roots = (REPO, PACKAGE, *(place for place in PACKAGE.iterdir() if place.is_dir()), TESTS)
    assert [name for name in named if not any((root / name).exists() for root in roots)] == []
