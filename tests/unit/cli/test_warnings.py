"""Warnings: held back until the verb has succeeded, or part of the line of its failure."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from ocirun.cli.launcher import act
from ocirun.errors import OcirunError, send_warnings_to, warn, write_warnings
from ocirun.process.channel import channel_pair

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path

    from unit.cli.conftest import World


@pytest.fixture
def warning_world(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """A world in which every verb warns twice before it does what it does."""
    note = world.note

    def noisy(*call: object) -> None:
        warn("first \x1b[31m")
        warn('second "quoted"')
        note(*call)

    monkeypatch.setattr(world, "note", noisy)
    return world


def words(log: Path, form: str) -> list[str]:
    return ["--log", str(log), "--log-format", form, "delete", "web"]


def test_a_failure_is_one_json_object_that_has_them(warning_world: World, tmp_path: Path) -> None:
    """podman reads the whole log as one object."""
    warning_world.failure = OcirunError("it broke")
    assert act(words(tmp_path / "log", "json")) == 1
    read = json.loads((tmp_path / "log").read_text())
    assert (read["level"], read["msg"]) == ("error", "it broke")
    assert read["warnings"] == ["first \x1b[31m", 'second "quoted"']


@pytest.mark.usefixtures("warning_world")
def test_a_success_writes_a_line_for_each(tmp_path: Path) -> None:
    assert act(words(tmp_path / "log", "json")) == 0
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert [(line["level"], line["msg"]) for line in lines] == [
        ("warning", "first \x1b[31m"),
        ("warning", 'second "quoted"'),
    ]


@pytest.mark.parametrize("status", [0, 1])
def test_text_has_them_before_the_error(warning_world: World, tmp_path: Path, status: int) -> None:
    warning_world.failure = OcirunError("it broke") if status else None
    assert act(words(tmp_path / "log", "text")) == status
    levels = [line.split()[1] for line in (tmp_path / "log").read_text().splitlines()]
    assert levels == ["level=warning"] * 2 + ["level=error"] * status


def test_beside_a_log_file_stderr_has_the_error_alone(
    warning_world: World, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """go-runc reads both streams as one."""
    assert act(words(tmp_path / "log", "json")) == 0
    assert capfd.readouterr().err == ""
    warning_world.failure = OcirunError("it broke")
    act(words(tmp_path / "log", "json"))
    assert capfd.readouterr().err == "it broke\n"


def test_a_verb_that_goes_on_for_long_has_them_written(world: World, tmp_path: Path) -> None:
    log = tmp_path / "log"
    seen: list[str] = []

    def note(*_: object) -> None:
        warn("early")
        write_warnings()
        seen.append(log.read_text())

    world.note = note  # type: ignore[method-assign]
    assert act(words(log, "json")) == 0
    assert ["early" in text for text in seen] == [True]
    assert log.read_text() == seen[0]


def test_what_init_warns_of_is_the_parents_to_log() -> None:
    ours, theirs = channel_pair()
    warnings: list[str] = []
    send_warnings_to(warnings.append)
    theirs.warn("from inside")
    theirs.warn("x" * 100_000)
    theirs.send("procReady", 7)
    assert ours.receive("procReady") == ("procReady", 7, [])
    assert warnings == ["from inside", "x" * 1000]
    ours.close()
    theirs.close()


def test_a_program_that_uses_the_library_has_them_from_its_logger() -> None:
    program = """
import logging
logging.basicConfig(format="%(name)s %(levelname)s %(message)s")
from ocirun.errors import warn
warn("100 %s of it")
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == "ocirun WARNING 100 %s of it\n"
