"""Which file args[0] means."""

from __future__ import annotations

from pathlib import Path

import pytest

from ocirun.errors import SetupError
from ocirun.process.program import find_program

NOT_US = (0, 0)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Be in a folder that holds an executable `tool`."""
    (tmp_path / "tool").write_text("#!/bin/sh\n")
    (tmp_path / "tool").chmod(0o755)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("search_path", [None, b""])
@pytest.mark.usefixtures("here")
def test_without_a_path_nothing_is_found_by_its_name(search_path: bytes | None) -> None:
    with pytest.raises(SetupError, match=r'exec: "tool": executable file not found in \$PATH'):
        find_program("tool", search_path, NOT_US)


@pytest.mark.usefixtures("here")
def test_an_empty_folder_of_the_path_is_the_working_directory() -> None:
    assert find_program("tool", b"/nowhere:", NOT_US) == b"./tool"


def test_the_first_folder_that_has_it_counts(here: Path) -> None:
    path = f"/nowhere:{here}:/".encode()
    assert find_program("tool", path, NOT_US) == bytes(here / "tool")


def test_our_own_executable_is_refused(here: Path) -> None:
    found = (here / "tool").stat()
    with pytest.raises(SetupError, match="permission denied"):
        find_program("./tool", None, (found.st_dev, found.st_ino))
