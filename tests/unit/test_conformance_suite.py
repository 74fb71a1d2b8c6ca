"""The conformance runner reads TAP and compares; proved with programs made up here."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from conformance.suite import (
    Outcome,
    compare,
    programs_of,
    read_expected,
    run_program,
    table,
    with_state_root,
)
from conformance.tap import Point, read_tap


@pytest.mark.parametrize(
    ("text", "status", "verdict"),
    [
        ("TAP version 13\nok 1 - a\nok 2 - b\n1..2\n", 0, "pass"),
        ("1..1\nok\n", 0, "pass"),
        ("TAP version 13\nok 1 - a\nnot ok 2 - b\n1..2\n", 0, "fail"),
        ("not ok 1 - later # TODO not yet\n1..1\n", 0, "pass"),
        ("ok 1 # SKIP no cgroups\n1..1\n", 0, "skip"),
        ("ok 1 - thing # skip: no cgroups\n1..1\n", 0, "skip"),
        ("1..0 # no cgroups\n", 0, "skip"),
        ("ok 1 - a\n1..2\n", 0, "error"),
        ("ok 1 - a\n1..1\nTAP version 13\nok 1 - b\n1..1\n", 0, "pass"),
        ("ok 1 - a\n1..1\nTAP version 13\n1..0\n", 0, "pass"),
        ("ok 1 - a\n1..1\nTAP version 13\nok 1 - b\n1..2\n", 0, "error"),
        ("ok 1 - a\n", 0, "error"),
        ("ok 1 - a\n1..1\n", 1, "error"),
        ("1..0\n", 1, "error"),
        ("ok 1 # SKIP no cgroups\n1..1\n", 1, "error"),
        ("Bail out! no runtime\n", 1, "error"),
        ("", 0, "error"),
        ("some words\nok 1 - a\n  ---\n  x: y\n  ...\n# comment\n1..1\n", 0, "pass"),
        ("okay then\n1..0\n", 0, "skip"),
    ],
)
def test_a_program_comes_to_a_verdict(text: str, status: int, verdict: str) -> None:
    assert read_tap(text).verdict(status) == verdict


def test_points_keep_their_words() -> None:
    report = read_tap("ok 1 - has an expected hostname # SKIP uts\nnot ok 2 - b\n1..2\n")
    assert report.points == [Point(True, "has an expected hostname", "skip"), Point(False, "b")]
    assert report.planned == 2


def write_program(checkout: Path, name: str, script: str) -> Path:
    folder = checkout / "validation" / name
    folder.mkdir(parents=True)
    program = folder / f"{name}.t"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return program


def test_programs_run_with_the_runtime_from_the_checkout(tmp_path: Path) -> None:
    script = 'echo "ok 1 - $RUNTIME in $(pwd)"; echo 1..1'
    program = write_program(tmp_path, "create", script)
    (tmp_path / "validation/create/notes.txt").write_text("not a program")
    assert programs_of(tmp_path) == [program]
    outcome = run_program(program, tmp_path, "/opt/runtime")
    assert outcome == Outcome("create", "pass", 1, 1)
    script = 'test "$RUNTIME" = /opt/runtime || echo "Bail out! $RUNTIME"; echo 1..0'
    assert run_program(write_program(tmp_path, "env", script), tmp_path, "/opt/x")[1] == "error"


def test_a_failure_says_which_point(tmp_path: Path) -> None:
    script = "echo 'ok 1 - fine'; echo 'not ok 2 - the hostname'; echo 1..2; echo noise >&2; exit 1"
    outcome = run_program(write_program(tmp_path, "hostname", script), tmp_path, "x")
    assert outcome == Outcome("hostname", "fail", 1, 2, "the hostname")


def test_a_program_that_prints_failures_only_passes_by_its_status(tmp_path: Path) -> None:
    program = write_program(tmp_path, "process_rlimits_fail", "echo refused >&2")
    assert run_program(program, tmp_path, "x") == Outcome("process_rlimits_fail", "pass", 0, 0)
    script = "echo ok 1 - a; echo 1..1; echo 'MUST fail' >&2; exit 1"
    program = write_program(tmp_path, "process_capabilities_fail", script)
    assert run_program(program, tmp_path, "x").verdict == "error"


def test_the_runtime_gets_a_state_root_of_its_own(tmp_path: Path) -> None:
    runtime = with_state_root("/bin/echo", tmp_path)
    done = subprocess.run([runtime, "state", "a b"], capture_output=True, check=True, text=True)
    assert done.stdout == f"--root {tmp_path}/state state a b\n"


def test_expected_lines_need_a_verdict_and_a_reason() -> None:
    text = "# comment\n\nhooks pass\nlinux_seccomp skip it has its own issue  # later\n"
    assert read_expected(text) == {
        "hooks": ("pass", ""),
        "linux_seccomp": ("skip", "it has its own issue"),
    }
    assert read_expected("pidfile fail|pass runc=skip it is a race")["pidfile"][0] == "fail|pass"
    assert read_expected("pidfile pass crun=skip runc it is", "crun")["pidfile"][0] == "skip"
    assert read_expected("pidfile fail crun=skip it is", "runc")["pidfile"] == ("fail", "it is")
    for bad in ("hooks", "hooks maybe", "hooks fail", "hooks fail runc=pass", "hooks failed x"):
        with pytest.raises(ValueError, match="hooks"):
            read_expected(bad)


def test_every_surprise_is_named_the_good_ones_too() -> None:
    outcomes = [
        Outcome("a", "pass", 1, 1),
        Outcome("b", "fail", 0, 1, "the words"),
        Outcome("c", "pass", 1, 1),
        Outcome("d", "skip", 0, 0),
    ]
    expected = {"c": ("fail", "known"), "d": ("skip", "known"), "e": ("fail", "known")}
    assert compare(outcomes, expected) == [
        "e: is not in the checkout",
        "b: fail, expected pass (the words)",
        "c: pass, expected fail",
    ]


def test_the_table_counts() -> None:
    text = table([Outcome("a", "pass", 2, 2), Outcome("longer", "fail", 0, 1, "why\nmore")])
    assert "longer  fail     0/1    why" in text
    assert text.endswith("1 pass, 1 fail, 0 skip, 0 error")


def test_the_committed_list_can_be_read() -> None:
    from conformance.suite import EXPECTED

    read_expected(EXPECTED.read_text())


SCRIPTS = {
    "pass": "echo ok 1; echo 1..1",
    "fail": "echo not ok 1 - it; echo 1..1",
    "skip": "echo 1..0",
    "error": "echo ok 1; echo 1..1; exit 1",
}


def test_the_committed_list_is_what_a_checkout_is_held_against(tmp_path: Path) -> None:
    from conformance.suite import EXPECTED

    expected = read_expected(EXPECTED.read_text())
    for name, (verdict, _) in {**expected, "default": ("pass", "")}.items():
        write_program(tmp_path, name, SCRIPTS[verdict.split("|")[0]])
    outcomes = [run_program(program, tmp_path, "x") for program in programs_of(tmp_path)]
    assert len(outcomes) == len(expected) + 1
    assert compare(outcomes, expected) == []
    write_program(tmp_path, "state", SCRIPTS["fail"])
    outcomes.append(run_program(tmp_path / "validation/state/state.t", tmp_path, "x"))
    assert compare(outcomes, expected) == ["state: fail, expected pass (it)"]
