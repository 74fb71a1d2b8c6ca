"""What `doctor` advises when something is broken: nothing that does not help."""

from __future__ import annotations

import os
from collections.abc import Callable
from errno import EACCES, ENOSYS, EPERM
from pathlib import Path

import pytest

from ocirun.cli.commands.doctor import plain
from ocirun.doctor import kernel, namespaces, surroundings
from ocirun.doctor.probe import DEGRADED, LACKING, OK, REFUSED, Finding, Lacks, Probe
from ocirun.doctor.probe import ask as finding_of

Ask = Callable[[object, str], Finding]


@pytest.mark.parametrize(("number", "newer"), [(EPERM, False), (EACCES, False), (ENOSYS, True)])
def test_a_refusal_does_not_ask_for_a_newer_kernel(
    ask: Ask, monkeypatch: pytest.MonkeyPatch, number: int, newer: bool
) -> None:
    def refused(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(kernel, "openat2", refused)
    finding = ask(kernel, "openat2")
    assert finding.verdict == LACKING
    assert finding.remedy.startswith("Run Linux") is newer
    assert newer or finding.remedy == REFUSED


def test_a_finding_without_a_remedy_has_no_line_for_it() -> None:
    def lacking() -> str:
        raise Lacks("gone", remedy="")

    finding = finding_of("group", Probe("name", lacking, "What follows.", "What helps."))
    assert finding.remedy == ""
    assert plain([finding]).splitlines()[2:] == ["            What follows."]


@pytest.fixture
def broken_criu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Put a criu that says something and fails into PATH."""

    def install(words: str) -> Path:
        program = tmp_path / "criu"
        program.write_text(f'#!/bin/sh\necho "{words}" >&2\nexit 1\n')
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
        return program

    return install


def test_a_broken_criu_is_not_to_be_installed(ask: Ask, broken_criu: Callable[[str], Path]) -> None:
    program = broken_criu("Error: no soft-dirty")
    finding = ask(surroundings, "criu")
    assert finding.found == "criu check: Error: no soft-dirty"
    assert finding.remedy == f"{program} check -v4 has details."


def test_an_old_criu_has_no_check_for_ordinary_users(
    ask: Ask, broken_criu: Callable[[str], Path]
) -> None:
    program = broken_criu("criu: unrecognized option '--unprivileged'")
    finding = ask(surroundings, "criu")
    assert finding.found == f"{program} has no check for ordinary users"
    assert "newer" in finding.remedy


def test_without_criu_it_is_to_be_installed(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    finding = ask(surroundings, "criu")
    assert (finding.found, finding.remedy) == ("there is no criu in PATH", "Install criu.")


def test_a_missing_file_of_subordinate_ids_is_named(
    ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(path: str) -> str:
        if path == "/etc/subuid":
            raise FileNotFoundError(2, "No such file or directory")
        return ""

    monkeypatch.setattr(os, "getuid", lambda: 1000)
    monkeypatch.setattr(namespaces, "read", missing)
    assert ask(namespaces, "subordinate ids").found == "there is no /etc/subuid"


@pytest.mark.parametrize(
    ("numbers", "kind", "found"),
    [
        ((1, 7), 0o020666, None),
        ((1, 3), 0o020666, "/dev/full is the device 1:3"),
        ((0, 0), 0o100666, "/dev/full is not a character device"),
        (None, 0, "there is no /dev/full"),
    ],
)
def test_a_broken_standard_device_is_noticed(
    ask: Ask,
    monkeypatch: pytest.MonkeyPatch,
    numbers: tuple[int, int] | None,
    kind: int,
    found: str | None,
) -> None:
    def stat(path: str) -> os.stat_result:
        name = path.removeprefix("/dev/")
        if name == "full" and numbers is None:
            raise FileNotFoundError(2, "No such file or directory")
        mode, pair = (kind, numbers) if name == "full" else (0o020666, surroundings.DEVICES[name])
        assert pair is not None
        values = {"st_rdev": os.makedev(*pair)}
        return os.stat_result([mode, 0, 0, 0, 0, 0, 0, 0, 0, 0], values)

    monkeypatch.setattr(surroundings.os, "stat", stat)
    finding = ask(surroundings, "devices")
    if found is None:
        assert (finding.verdict, finding.remedy) == (OK, "")
        return
    assert (finding.verdict, finding.found) == (DEGRADED, found)
    assert "mknod -m 666 /dev/full c 1 7" in finding.remedy
