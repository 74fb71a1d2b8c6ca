"""What a shell is offered, and the scripts that ask for it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ocirun.cli.commands.complete import candidates
from ocirun.cli.launcher import act
from ocirun.cli.verbs import VERBS

START = "from ocirun.cli.launcher import main; main()"


def offered(*words: str) -> list[str]:
    return [word for word, _ in candidates(words)]


def test_verbs_are_offered_but_not_the_internal_ones() -> None:
    assert offered("st") == ["start", "state"]
    assert offered("--debug", "--root", "/x", "st") == ["start", "state"]
    assert {"init", "complete"}.isdisjoint(offered(""))
    assert offered("help", "res") == ["restore", "resume"]


def test_the_containers_of_the_root_are_offered(tmp_path: Path) -> None:
    for name in ("web-1", "web-2", "db"):
        (tmp_path / name).mkdir(mode=0o700)
    root = ("--root", str(tmp_path))
    assert offered(*root, "delete", "w") == ["web-1", "web-2"]
    assert offered(*root, "delete", "--force", "d") == ["db"]
    assert offered(*root, "delete", "db", "") == []
    assert offered(*root, "top", "db", "web-") == ["web-1", "web-2"]
    assert offered(*root, "mounts", "add", "d") == ["db"]


def test_a_root_that_is_not_there_has_no_containers(tmp_path: Path) -> None:
    assert offered("--root", str(tmp_path / "none"), "state", "") == []


def test_the_second_word_of_kill_is_a_signal() -> None:
    assert offered("kill", "web", "KI") == ["KILL"]
    assert offered("kill", "--all", "web", "TER") == ["TERM"]


def test_options_and_their_values_are_offered() -> None:
    assert offered("delete", "--") == ["--force", "--regex", "--help"]
    assert offered("list", "--format", "") == ["table", "json"]
    assert offered("--log-format", "j") == ["json"]
    assert offered("list", "-f", "t") == ["table"]
    assert "--criu" not in offered("--c")  # hidden


def test_what_follows_the_id_of_exec_is_not_ours() -> None:
    assert offered("exec", "web", "--") == ["--help"]
    assert offered("exec", "web", "") == []


def test_an_unknown_verb_gets_nothing() -> None:
    assert offered("frob", "") == []


def test_descriptions_come_where_the_shell_shows_them(capfd: pytest.CaptureFixture[str]) -> None:
    assert act(["complete", "fish", "stat"]) == 0
    assert capfd.readouterr().out == f"state\t{VERBS['state'].summary}\n"
    assert act(["complete", "bash", "stat"]) == 0
    assert capfd.readouterr().out == "state\n"
    assert act(["complete", "bash"]) == 0
    assert "create\n" in capfd.readouterr().out


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_script_is_printed_for(shell: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert act(["completion", shell]) == 0
    assert f"complete {shell}" in capfd.readouterr().out


def test_another_shell_has_none(capfd: pytest.CaptureFixture[str]) -> None:
    assert act(["completion", "csh"]) == 1
    assert "no completion for 'csh'" in capfd.readouterr().err


def test_bash_completes_with_the_script(tmp_path: Path) -> None:
    """The script is loaded by a real bash, which calls a program named ocirun."""
    own = tmp_path / "ocirun"
    own.write_text(f"#!/bin/sh\nexec {sys.executable} -I -c '{START}' \"$@\"\n")
    own.chmod(0o755)
    script = f"""
        PATH={tmp_path}:$PATH
        eval "$(ocirun completion bash)"
        complete -p ocirun
        COMP_WORDS=(ocirun --debug kill web TER) COMP_CWORD=4
        _ocirun
        echo "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["complete -o default -F _ocirun ocirun", "TERM"]
