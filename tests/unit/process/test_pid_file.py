"""The pid file is there whole, or nothing is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ocirun.errors import UsageError
from ocirun.process.pidfile import write_pid_file


def test_it_holds_the_number_alone(tmp_path: Path) -> None:
    write_pid_file(os.fspath(tmp_path / "pid"), 4711)
    assert (tmp_path / "pid").read_text() == "4711"
    assert os.listdir(tmp_path) == ["pid"]


def test_a_failure_leaves_nothing_beside_it(tmp_path: Path) -> None:
    (tmp_path / "pid").mkdir()
    with pytest.raises(UsageError, match=r"--pid-file .*: .* not a regular file"):
        write_pid_file(os.fspath(tmp_path / "pid"), 4711)
    assert os.listdir(tmp_path) == ["pid"]
