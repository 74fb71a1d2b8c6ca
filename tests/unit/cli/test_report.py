"""Words of failure: the only tests that hold sentences, log lines and exit statuses still."""

from __future__ import annotations

import errno
import json
import os
from datetime import datetime

import pytest

from ocirun.cli import log, logline, report
from ocirun.cli.launcher import act
from ocirun.errors import (
    ContainerExists,
    HookError,
    InitError,
    OcirunError,
    Problem,
    SetupError,
    SpecError,
    doing,
)
from ocirun.kernel.oserror import oserror

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path

    from unit.cli.conftest import World


def refused() -> SetupError:
    with pytest.raises(SetupError) as caught, doing("mounting /proc"):
        raise oserror(errno.EPERM, 'mount("proc", "/proc")')
    return caught.value


@pytest.mark.parametrize(
    ("error", "verb", "sentence"),
    [
        (
            # The channel has put runc's words before what init said.
            InitError('unable to start container process: exec: "x": not found', errno.ENOENT),
            "create",
            'ocirun create failed: unable to start container process: exec: "x": not found',
        ),
        (InitError("x", 1), "start", "x"),
        (
            ContainerExists("web"),
            "create",
            "ocirun create failed: container with given ID already exists",
        ),
        (ContainerExists("web"), "", "container with given ID already exists"),
        (refused(), "run", "ocirun run failed: mounting /proc: operation not permitted"),
        (OcirunError("no such container"), "exec", "exec failed: no such container"),
        (
            SpecError([Problem("/a", "is wrong", "did you mean b?"), Problem("", "is bad")]),
            "create",
            (
                "ocirun create failed: config.json: /a: is wrong (did you mean b?); "
                "config.json: is bad"
            ),
        ),
        (
            HookError("prestart", 0, "/bin/hook", "exit status 1"),
            "create",
            "ocirun create failed: error running prestart hook #0: /bin/hook: exit status 1",
        ),
        (KeyboardInterrupt(), "run", "ocirun run failed: interrupted"),
        (MemoryError(), "state", "out of memory"),
        (OSError(errno.ENOENT, "No such file", "/a"), "state", "/a: no such file"),
        (oserror(errno.EPERM, "setns(3)"), "start", "setns(3): operation not permitted"),
        (
            ImportError("too many open files", name="_json"),
            "state",
            "loading the Python module _json: too many open files",
        ),
        (KeyError("x"), "state", "internal error: KeyError: 'x', please report it"),
    ],
)
def test_each_error_is_explained_with_its_verb(
    error: BaseException, verb: str, sentence: str
) -> None:
    assert report.explain(error, verb) == sentence


@pytest.mark.parametrize(
    ("error", "verb", "status"),
    [
        (OcirunError("x"), "create", 1),
        (OcirunError("x"), "exec", 255),
        (ValueError("x"), "state", 1),
        (KeyboardInterrupt(), "run", 130),
        (SystemExit(7), "state", 7),
        (SystemExit(None), "state", 0),
        (SystemExit("words"), "state", 1),
    ],
)
def test_exit_status_of(error: BaseException, verb: str, status: int) -> None:
    assert report.failure(error, verb, report.settings_of([])) == status


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        ("plain-word_is./@^+", "plain-word_is./@^+"),
        ("colon:", '"colon:"'),
        ("", ""),
        ("two words", '"two words"'),
        ('a "b" \\', '"a \\"b\\" \\\\"'),
        ("line\nnext\ttab\r", '"line\\nnext\\ttab\\r"'),
        ("é ü 漢", '"é ü 漢"'),
        ("\x1b[31m", '"\\x1b[31m"'),
        ("\udcff/x", '"\\xff/x"'),
        ("\u200b", '"\\u200b"'),
        ("\U000e0001", '"\\U000e0001"'),
    ],
)
def test_text_lines_quote_as_logrus_does(text: str, quoted: str) -> None:
    assert logline.quote(text) == quoted


def test_a_text_line_has_time_level_and_message() -> None:
    line = logline.text_line("error", "it broke")
    assert line.endswith(' level=error msg="it broke"\n')
    assert line.startswith('time="')
    assert datetime.fromisoformat(line[6:].partition('"')[0]).tzinfo is not None


@pytest.mark.parametrize("message", ["it broke", 'q"\\\n\x00é', "\udcff \ud800"])
def test_a_json_line_is_one_json_object_whatever_the_message(message: str) -> None:
    data = logline.to_bytes(logline.json_line("error", message))
    assert data.count(b"\n") == 1
    record = json.loads(data)
    assert (record["level"], record["msg"]) == ("error", message)
    assert datetime.fromisoformat(record["time"]).tzinfo is not None


@pytest.mark.usefixtures("world")
@pytest.mark.parametrize("form", ["text", "json"])
def test_a_log_file_gets_one_line_and_stderr_the_sentence(
    form: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "log"
    log.write_text("before\n")
    assert act(["--log", str(log), "--log-format", form, "state", "web"]) == 1
    printed = capfd.readouterr()
    assert printed.out == ""
    assert printed.err == "container does not exist\n"
    before, line = log.read_text().splitlines()
    assert before == "before"
    if form == "json":
        record = json.loads(line)
        assert list(record) == ["level", "msg", "time"]
        assert (record["level"], record["msg"]) == ("error", "container does not exist")
    else:
        assert line.endswith('level=error msg="container does not exist"')


@pytest.mark.usefixtures("world")
@pytest.mark.parametrize("spelling", ["{}", "file:{}"])
def test_the_log_is_made_with_the_first_call_and_kept(spelling: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    old = os.umask(0)
    try:
        assert act(["--log", spelling.format(log), "kill", "web"]) == 0
    finally:
        os.umask(old)
    assert log.read_bytes() == b""
    assert log.stat().st_mode & 0o777 == 0o644


@pytest.mark.usefixtures("world")
def test_without_a_log_file_stderr_gets_the_line(capfd: pytest.CaptureFixture[str]) -> None:
    assert act(["state", "web"]) == 1
    assert capfd.readouterr().err.endswith('level=error msg="container does not exist"\n')
    assert act(["--log-format=json", "state", "web"]) == 1
    assert json.loads(capfd.readouterr().err)["msg"] == "container does not exist"


def test_a_person_at_a_terminal_gets_a_plain_sentence(
    world: World, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "isatty", lambda _: True)
    assert act(["state", "web"]) == 1
    assert capfd.readouterr().err == "ocirun: container does not exist\n"
    world.failure = OcirunError("no")
    assert act(["create", "web"]) == 1
    assert capfd.readouterr().err == "ocirun create failed: no\n"


def test_a_terminal_gets_nothing_that_it_obeys(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A container may have chosen the names that a sentence is about."""
    world.failure = OcirunError('opening "\x1b[2J\r\x9bä\udcff\t": \x07no\nand no')
    plain = 'opening "\\x1b[2J\\r\\u009bä\\xff\t": \\x07no\nand no\n'
    monkeypatch.setattr(os, "isatty", lambda _: True)
    for words in ([], ["--log", str(tmp_path / "log")]):
        assert act([*words, "state", "web"]) == 1
        assert capfd.readouterr().err.removeprefix("ocirun: ") == plain
    monkeypatch.setattr(os, "isatty", lambda _: False)
    assert act(["--log", str(tmp_path / "log"), "state", "web"]) == 1
    assert capfd.readouterr().err.startswith('opening "\x1b[2J')  # callers match bytes


def test_a_log_that_stops_being_writable_does_not_swallow_the_error(
    world: World, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "gone" / "log"
    log.parent.mkdir()

    def lose_the_log(*_: object) -> None:
        log.unlink()
        log.parent.rmdir()
        raise OcirunError("the real failure")

    world.note = lose_the_log  # type: ignore[method-assign]  # a recorder that breaks things
    assert act(["--log", str(log), "kill", "web"]) == 1
    assert "the real failure" in capfd.readouterr().err


def test_a_relative_log_is_where_the_caller_stood(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bundle").mkdir()

    def enter_the_bundle(*_: object) -> None:
        os.chdir("bundle")
        raise OcirunError("the real failure")

    world.note = enter_the_bundle  # type: ignore[method-assign]  # a recorder that moves
    assert act(["--log", "log", "create", "web"]) == 1
    assert "the real failure" in (tmp_path / "log").read_text()


@pytest.mark.usefixtures("world")
def test_a_usage_error_reaches_the_log_too(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "log"
    assert act(["--log", str(log), "--log-format", "json", "state"]) == 1
    assert '"state" requires exactly 1 argument(s)' in json.loads(log.read_bytes())["msg"]
    assert capfd.readouterr().out.startswith("Incorrect Usage.\n\nUsage: ocirun state")


def test_a_bug_shows_its_traceback_only_with_debug(
    world: World, capfd: pytest.CaptureFixture[str]
) -> None:
    world.failure = TypeError("unexpected")
    assert act(["state", "web"]) == 1
    quiet = capfd.readouterr().err
    assert "internal error: TypeError: unexpected, please report it" in quiet
    assert "Traceback" not in quiet
    for loud in (["--debug"], ["--log-level", "debug"]):
        assert act([*loud, "state", "web"]) == 1
        debug, error = capfd.readouterr().err.splitlines()
        assert "level=debug" in debug
        assert "Traceback" in debug
        assert "level=error" in error


def test_debug_tells_the_call_behind_a_failure(
    world: World, capfd: pytest.CaptureFixture[str]
) -> None:
    world.failure = refused()
    assert act(["--debug", "state", "web"]) == 1
    printed = capfd.readouterr().err
    assert 'mount(\\"proc\\", \\"/proc\\")' in printed
    assert printed.count("level=error") == 1


def test_debug_lines_carry_the_time(tmp_path: Path) -> None:
    path = tmp_path / "log"
    tell = log.teller({"log": str(path), "log-format": "json"})
    tell("sent bootstrapData")
    record = json.loads(path.read_bytes())
    assert (record["level"], record["msg"]) == ("debug", "sent bootstrapData")


def test_a_forked_child_tells_nothing(tmp_path: Path) -> None:
    path = tmp_path / "log"
    tell = log.teller({"log": str(path), "log-format": "text"})
    pid = os.fork()
    if pid == 0:
        tell("from the child")
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    assert not path.exists()
