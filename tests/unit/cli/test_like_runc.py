"""Beside the installed runc and crun: the same flags, the same refusals.

Only what needs no container: what is printed for a wrong command line, and that every flag they
offer is one we take. Known differences stand in the tables with their reason.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys

import pytest

from ocirun.cli.launcher import act
from ocirun.cli.verbs import GLOBALS, VERBS

RUNC = shutil.which("runc")
CRUN = shutil.which("crun")
needs_runc = pytest.mark.skipif(RUNC is None, reason="no runc in $PATH to compare with")
needs_crun = pytest.mark.skipif(CRUN is None, reason="no crun in $PATH to compare with")

THEIRS = ("create", "run", "start", "state", "kill", "delete", "list", "spec", "update")
NOT_OURS = {
    "criu",  # gone from runc since 1.4
    "usage",  # argp's own, as is -?
}


def runc(*words: str) -> tuple[int, str, str]:
    """Run runc; return its status, the first line of its stdout, its error message."""
    assert RUNC is not None
    command = ["runc", "--log-format", "json", *words]
    done = subprocess.run(command, executable=RUNC, capture_output=True, check=False, text=True)
    message = json.loads(done.stderr)["msg"] if done.stderr else ""
    return done.returncode, done.stdout.partition("\n")[0], message


@needs_runc
@pytest.mark.parametrize(
    "line",
    [
        "state",
        "state a b",
        "start",
        "kill",
        "kill a b c",
        "delete",
        "create",
        "create a b",
        "run",
        "list a",
        "spec a",
        "features a",
        "state --nosuch a",
        "delete -fz a",
        "delete -force=maybe a",
        "delete --force true a",
        "create -b",
        "create --preserve-fds abc a",
        "create --preserve-fds=1.5 a",
        "list --format",
        "events",
        "events a b",
        "events --stats=maybe a",
        "events --interval",
    ],
)
def test_a_wrong_command_line_is_refused_with_runc_s_words(
    line: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["runc"])
    status = act(["--log-format", "json", *line.split()])
    printed = capfd.readouterr()
    ours = (status, printed.out.partition("\n")[0], json.loads(printed.err)["msg"])
    assert ours == runc(*line.split())


@needs_runc
@pytest.mark.parametrize(
    "line",
    [
        "--log-format xml state a",
        "--log /nonexistent/log state a",
        "--nosuch state a",
        "--root",
    ],
)
def test_wrong_global_options_are_refused_with_runc_s_words(
    line: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["runc"])
    status = act(["--log-format", "json", *line.split()])
    message = capfd.readouterr().err.splitlines()[-1]
    assert RUNC is not None
    theirs = subprocess.run([RUNC, *line.split()], capture_output=True, check=False, text=True)
    assert status == theirs.returncode == 1
    words = re.search('msg="(.*)"', theirs.stderr)
    assert words is not None
    assert words[1] in message


@needs_runc
def test_no_verb_at_all_is_answered_with_help(capfd: pytest.CaptureFixture[str]) -> None:
    assert RUNC is not None
    for words in ([], ["--help"], ["help"], ["help", "state"], ["state", "--help"]):
        theirs = subprocess.run([RUNC, *words], capture_output=True, check=False)
        assert (theirs.returncode, theirs.stderr) == (0, b"")
        assert act(words) == 0
        printed = capfd.readouterr()
        assert (bool(printed.out), printed.err) == (True, "")


def offered(program: str, *words: str) -> set[str]:
    """Return the names of the flags that `program words --help` lists, without dashes."""
    done = subprocess.run([program, *words, "--help"], capture_output=True, check=True, text=True)
    lines = [line for line in done.stdout.splitlines() if re.match(r" +-", line)]
    columns = [re.split(r"  +", line.strip())[0] for line in lines]
    names = {name for column in columns for name in re.findall(r"(?<![\w-])--?([\w-]+)", column)}
    assert names
    return names - NOT_OURS


def known(verb: str) -> set[str]:
    options = VERBS[verb].options if verb else GLOBALS
    return {name for option in options for name in option.names} | {"help", "h"}


@needs_runc
@pytest.mark.parametrize("verb", ["", "create", "run", "kill", "delete", "list", "spec", "events"])
def test_every_flag_of_runc_is_taken(verb: str) -> None:
    assert RUNC is not None
    assert offered(RUNC, *verb.split()) <= known(verb)


@needs_crun
@pytest.mark.parametrize("verb", ["", *THEIRS])
def test_every_flag_of_crun_is_taken(verb: str) -> None:
    assert CRUN is not None
    assert offered(CRUN, *verb.split()) <= known(verb)
