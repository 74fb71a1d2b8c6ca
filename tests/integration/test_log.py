"""What is said, where, and in which form.

Source: docs/runc-compat/cli.md#parsing, docs/runc-compat/cli.md#global-flags,
docs/runc-compat/cli.md#log-and-stderr.
"""

from __future__ import annotations

import json
import subprocess
from datetime import datetime
from pathlib import Path

import pytest
from harness.box import Box
from harness.needs import needs
from harness.peers import peer_deviates


def call(box: Box, *words: str | Path) -> subprocess.CompletedProcess[str]:
    """Call the runtime with exactly these words."""
    return subprocess.run(
        [box.runtime.path, *words], capture_output=True, text=True, check=False, timeout=20
    )


class TestJson:
    """--log FILE --log-format json."""

    def test_a_failure_is_exactly_one_line_at_error_level(self, box: Box) -> None:
        result = box.container(None, "/no/such").create().failed()
        (line,) = result.log_lines
        assert line["level"] == "error"
        assert "no such file or directory" in line["msg"]

    @pytest.mark.parametrize("verb", ["state", "start", "kill", "delete", "run", "create"])
    def test_of_every_verb(self, box: Box, verb: str) -> None:
        words = ("--bundle", box.folder) if verb in ("run", "create") else ()
        (line,) = box.runtime.call(verb, *words, "ocitest-nothing").failed().log_lines
        assert line["level"] == "error"

    def test_the_whole_file_is_one_json_object(self, box: Box) -> None:
        """podman parses it so."""
        result = box.runtime.call("state", "ocitest-nothing").failed()
        assert set(json.loads(result.log)) == {"level", "msg", "time"}

    def test_its_time_is_rfc3339(self, box: Box) -> None:
        (line,) = box.runtime.call("state", "ocitest-nothing").failed().log_lines
        assert datetime.fromisoformat(line["time"]).tzinfo is not None

    def test_the_same_text_is_on_stderr(self, box: Box) -> None:
        result = box.runtime.call("state", "ocitest-nothing").failed()
        assert result.stderr.strip().endswith(result.log_lines[0]["msg"])

    def test_success_says_nothing(self, box: Box) -> None:
        result = box.container(None, "true").run().ok()
        assert (result.log, result.stderr) == ("", "")

    def test_a_message_with_quotes_and_newlines_is_still_one_line(self, box: Box) -> None:
        result = box.container(None, 'no"such\nprogram\x01').create().failed()
        assert len(result.log.splitlines()) == 1
        assert result.log_lines

    def test_lines_are_appended(self, box: Box) -> None:
        log = box.folder / "log"
        log.write_text("before\n")
        words = ("--root", box.runtime.root, "--log", log, "--log-format", "json")
        call(box, *words, "state", "ocitest-nothing")
        call(box, *words, "state", "ocitest-nothing")
        first, second, third = log.read_text().splitlines()
        assert first == "before"
        assert json.loads(second)["msg"] == json.loads(third)["msg"]

    def test_debug_adds_lines_but_not_errors(self, box: Box) -> None:
        log = box.folder / "log"
        bundle = box.bundle("true")
        bundle.save()
        words = ("--debug", "--root", box.runtime.root, "--log", log, "--log-format", "json")
        done = call(box, *words, "run", "-b", bundle.path, box.container(bundle).id)
        assert done.returncode == 0
        lines = [json.loads(line) for line in log.read_text().splitlines()]
        assert lines
        assert {line["level"] for line in lines} <= {"debug", "info"}


class TestText:
    """The default form."""

    def test_to_a_file(self, box: Box) -> None:
        log = box.folder / "log"
        call(box, "--root", box.runtime.root, "--log", log, "state", "ocitest-nothing")
        assert log.read_text().startswith('time="')
        assert "level=error" in log.read_text()
        assert "does not exist" in log.read_text()

    def test_without_a_file_it_is_stderr(self, box: Box) -> None:
        done = call(box, "--root", box.runtime.root, "state", "ocitest-nothing")
        assert done.returncode == 1
        assert done.stdout == ""
        assert "does not exist" in done.stderr

    def test_an_unknown_form_is_refused(self, box: Box) -> None:
        done = call(box, "--log-format", "xml", "list")
        assert done.returncode == 1
        assert "xml" in done.stderr


class TestRoot:
    """--root."""

    @peer_deviates("runc", "1.1 accepts it")
    @peer_deviates("crun", "accepts it", sometimes=True)
    def test_the_root_of_the_machine_is_refused(self, box: Box) -> None:
        done = call(box, "--root", "/", "list")
        assert done.returncode == 1
        assert "Option --root argument should not be set to /" in done.stderr

    def test_it_is_made_private(self, box: Box) -> None:
        box.container(None, "true").run().ok()
        assert box.runtime.root.stat().st_mode & 0o777 == 0o700

    def test_a_relative_one_is_relative_to_the_caller(self, box: Box) -> None:
        bundle = box.bundle("true")
        bundle.save()
        container = box.container(bundle)
        done = subprocess.run(
            [box.runtime.path, "--root", "state", "run", "-b", bundle.path, container.id],
            cwd=box.folder,
            check=False,
        )
        assert done.returncode == 0
        assert (box.folder / "state").is_dir()


class TestUsage:
    """Words that are not a call."""

    def test_version_prints_the_lines_that_callers_read(self, box: Box) -> None:
        done = call(box, "--version")
        name = "ocirun" if box.runtime.name == "ours" else box.runtime.name
        assert done.returncode == 0
        assert done.stdout.startswith(f"{name} version ")
        assert any(line.startswith("commit: ") for line in done.stdout.splitlines())
        assert any(line.startswith("spec: ") for line in done.stdout.splitlines())

    @pytest.mark.parametrize("words", [["--help"], ["create", "--help"], ["help"]])
    def test_help_goes_to_stdout_with_status_0(self, box: Box, words: list[str]) -> None:
        done = call(box, *words)
        assert done.returncode == 0
        assert "create" in done.stdout

    @pytest.mark.parametrize("words", [["state"], ["state", "a", "b"], ["start"], ["delete"]])
    def test_a_wrong_count_of_words(self, box: Box, words: list[str]) -> None:
        done = call(box, "--root", box.runtime.root, *words)
        assert done.returncode == 1
        if box.runtime.name != "crun":
            assert "requires exactly 1 argument" in done.stderr

    def test_an_unknown_verb(self, box: Box) -> None:
        assert call(box, "no-such-verb").returncode != 0

    @needs("ours")
    @pytest.mark.parametrize("words", [["create"], ["--no-such"], ["kill"], ["run", "--bundle"]])
    def test_no_traceback_ever(self, box: Box, words: list[str]) -> None:
        done = call(box, *words)
        assert done.returncode != 0
        assert "Traceback" not in done.stderr + done.stdout


class TestCombined:
    """Callers read stdout and stderr as one."""

    @pytest.mark.parametrize("words", [["list", "--format=json"], ["features"], ["--version"]])
    def test_queries_say_nothing_on_stderr(self, box: Box, words: list[str]) -> None:
        box.runtime.root.mkdir()
        assert box.runtime.call(*words).ok().stderr == ""

    def test_features_is_json(self, box: Box) -> None:
        features = box.runtime.call("features").ok().json()
        assert features["hooks"] == [
            "prestart",
            "createRuntime",
            "createContainer",
            "startContainer",
            "poststart",
            "poststop",
        ]
        assert set(features["linux"]["namespaces"]) >= {"pid", "network", "mount", "user"}
        assert features["mountOptions"] == sorted(features["mountOptions"])
