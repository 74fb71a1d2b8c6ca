"""The version is stated once, in `ocirun/__init__.py`; everything else has it from there."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from importlib.metadata import version

from harness.machine import REPO

import ocirun


def test_the_installed_package_has_the_version_of_the_module() -> None:
    assert version("ocirun") == ocirun.__version__


def test_meson_is_given_the_version_of_the_module() -> None:
    script = REPO / "ocirun" / "_build" / "version.py"
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ocirun.__version__
    assert "run_command('ocirun/_build/version.py'" in (REPO / "meson.build").read_text()


def test_pyproject_takes_the_version_from_meson() -> None:
    project = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]
    assert "version" in project["dynamic"]
    assert "version" not in project


def test_the_changelog_has_a_section_for_the_version() -> None:
    headings = re.findall(r"^## (.+)$", (REPO / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] == "Unreleased"
    assert headings[1].split(" - ")[0] == ocirun.__version__
