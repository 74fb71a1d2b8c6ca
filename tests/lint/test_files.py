"""What no linter looks at: sizes of files, paths of machines, leftovers."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from harness.machine import REPO
from harness.sources import is_generated, tracked

LONGEST = 400
LONGER = {
    "ocirun/spec/types.py": "types of the three documents: a table, loaded by type checkers only",
    "ocirun/cli/verbs.py": "the table of the command line",
}
TEXT = {".py", ".pyi", ".c", ".h", ".md", ".toml", ".json", ".build", ".yml", ".yaml", ".sh", ""}
# Written in pieces, so that this file does not find itself.
MACHINE_PATHS = re.compile("|".join(("/work" + "/(main|shared)", "/tmp" + "/wt", r"\.pyenv" + "/")))


def texts() -> list[Path]:
    return [path for path in tracked() if path.suffix in TEXT]


@pytest.mark.parametrize("suffix", [".py", ".c", ".h"])
def test_files_can_be_held_in_mind(suffix: str) -> None:
    long = {
        str(path.relative_to(REPO)): lines
        for path in tracked()
        if path.suffix == suffix and not is_generated(path)
        if str(path.relative_to(REPO)) not in LONGER
        if (lines := len(path.read_text().splitlines())) > LONGEST
    }
    assert long == {}


def test_no_file_names_somebodys_machine() -> None:
    found = [
        f"{path.relative_to(REPO)}:{number}: {line.strip()}"
        for path in texts()
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1)
        if MACHINE_PATHS.search(line)
    ]
    assert found == []


def test_no_file_has_a_conflict_in_it() -> None:
    marks = re.compile("^(<{7} |>{7} )", re.MULTILINE)
    assert [path for path in texts() if marks.search(path.read_text(errors="replace"))] == []


def test_every_skip_has_a_reason() -> None:
    words = r"pytest\.(skip|xfail)\(\)|mark\.(skip|xfail)\s*$|mark\.skip\(\)"
    bare = re.compile(words, re.MULTILINE)
    tests = [path for path in tracked() if REPO / "tests" in path.parents and path.suffix == ".py"]
    others = [path for path in tests if path != Path(__file__)]
    assert [path for path in others if bare.search(path.read_text())] == []


def test_folders_of_the_package_are_packages() -> None:
    folders = {path.parent for path in tracked() if path.suffix == ".py"}
    package = REPO / "ocirun"
    ours = {folder for folder in folders if folder == package or package in folder.parents}
    assert [folder for folder in ours if not (folder / "__init__.py").exists()] == []
