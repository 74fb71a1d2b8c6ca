"""From argv to the verb and back to an exit status."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import ocirun
from ocirun.cli.launcher import act, check_settings
from ocirun.cli.parse import parse
from ocirun.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unit.cli.conftest import World

PACKAGE = str(Path(ocirun.__file__).parents[1])
START = (
    f"import sys; sys.path.insert(0, {PACKAGE!r}); sys.argv[0] = 'ocirun'; "
    "from ocirun.cli.launcher import main; main()"
)


def checked(*words: str) -> dict[str, object]:
    call = parse([*words, "state", "web"])
    assert call is not None
    check_settings(call.settings)
    return call.settings


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--log-format", "xml"], "invalid log-format: xml"),
        (["--log-level", "loud"], "invalid log-level: loud"),
        (["--cgroup-manager", "mine"], "invalid cgroup-manager: mine"),
        (["--rootless", "maybe"], "invalid rootless: maybe"),
        (["--root", "/"], "Option --root argument should not be set to /"),
        (["--root", "/a/.."], "Option --root argument should not be set to /"),
        (["--root="], "Option --root argument should not be empty"),
        (["--log", "/nonexistent/log"], "open /nonexistent/log: no such file or directory"),
        (["--log", "/"], "open /: is a directory"),
        (["--log", "journald:x"], "--log journald:x: only files can be logged to"),
    ],
)
def test_global_options_that_cannot_be_meant_are_refused(words: list[str], sentence: str) -> None:
    with pytest.raises(UsageError) as caught:
        checked(*words)
    assert str(caught.value) == sentence


def test_paths_are_made_absolute_before_anyone_changes_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = checked("--root", "state", "--log", "log")
    assert settings["root"] == str(tmp_path / "state")
    assert settings["log"] == str(tmp_path / "log")


def test_the_log_level_wins_over_debug() -> None:
    assert checked("--debug", "--log-level", "error")["debug"] is False
    assert checked("--log-level", "debug")["debug"] is True
    assert checked("--debug")["debug"] is True


@pytest.mark.parametrize(
    ("words", "manager"),
    [
        ([], "cgroupfs"),
        (["--systemd-cgroup"], "systemd"),
        (["--cgroup-manager=disabled", "--systemd-cgroup"], "disabled"),
    ],
)
def test_the_cgroup_driver_follows_the_flags(words: list[str], manager: str) -> None:
    call = parse([*words, "create", "web"])
    assert call is not None
    assert call.cgroup_manager() == manager


def test_the_status_of_the_verb_is_ours(world: World) -> None:
    world.status = 137
    assert act(["run", "web"]) == 137


def test_the_verb_gets_the_root_that_was_named(world: World, tmp_path: Path) -> None:
    assert act(["start", "web"]) == 0
    assert act(["--root", str(tmp_path), "start", "web"]) == 0
    assert world.calls == [
        ("start", "/run/default", "web", None),
        ("start", str(tmp_path), "web", None),
    ]


def started(*words: str, **how: object) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-I", "-c", START, *words]
    return subprocess.run(command, capture_output="stdout" not in how, check=False, **how)  # type: ignore[call-overload]  # passed through


def test_version_names_us_on_its_first_line() -> None:
    done = started("--version")
    assert (done.returncode, done.stderr) == (0, b"")
    lines = done.stdout.decode().splitlines()
    assert lines[0] == f"ocirun version {ocirun.__version__}"
    # Docker takes the last line that holds the word, and the commit by its prefix.
    assert [line for line in lines if "version" in line] == lines[:1]
    assert [line.partition(": ")[0] for line in lines[1:-1]] == ["commit", "spec", "python"]
    assert {"+SYSTEMD", "+SECCOMP", "+CRIU"} <= set(lines[-1].split())
    for same in (["-v"], ["-V"], ["version"], ["-version"]):
        assert started(*same).stdout == done.stdout


@pytest.mark.parametrize("words", [["--version"], ["--help"]])
def test_a_full_stdout_is_a_failure_with_a_sentence(words: list[str]) -> None:
    with open("/dev/full", "wb") as full:
        done = started(*words, stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 1
    assert b"writing to standard output: no space left on device" in done.stderr
    assert b"Traceback" not in done.stderr


def test_a_reader_that_went_away_is_a_failure_with_a_sentence() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = started("--version", stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    assert done.returncode == 1
    assert b"writing to standard output: broken pipe" in done.stderr


@pytest.mark.parametrize(
    ("closed", "words"), [("1>&-", "--version"), ("0<&- 1>&-", "--version"), ("1>&-", "--help")]
)
def test_a_closed_stdout_is_a_failure_with_a_sentence(closed: str, words: str) -> None:
    command = ["sh", "-c", f'exec "$@" {closed}', "sh", sys.executable, "-I", "-c", START, words]
    done = subprocess.run(command, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 1
    assert b"writing to standard output: bad file descriptor" in done.stderr


def test_a_closed_stderr_swallows_the_words_only(tmp_path: Path) -> None:
    log = tmp_path / "log"
    command = ["sh", "-c", 'exec "$@" 2>&- 0<&-', "sh", sys.executable, "-I", "-c", START]
    done = subprocess.run([*command, "--log", str(log), "state"], check=False, capture_output=True)
    assert done.returncode == 1
    assert log.read_bytes().count(b"level=error") == 1


def test_words_that_are_not_utf8_come_back_as_they_were() -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-c", START, b"--log-format", b"\xff\xc3\xa9", b"state", b"x"],
        capture_output=True,
        check=False,
        env={"LC_ALL": "C"},
    )
    assert done.returncode == 1
    assert b'invalid log-format: \\xff\xc3\xa9"' in done.stderr


def test_without_typer_what_only_it_reads_gets_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delitem(sys.modules, "ocirun.cli.app", raising=False)
    monkeypatch.setitem(sys.modules, "typer", None)
    assert act(["delete", "web", "--force"]) == 1
    assert "the Python package typer is missing" in capfd.readouterr().err


def modules_after(words: list[str]) -> set[str]:
    """Return the modules a bare isolated interpreter loads to read `words`."""
    code = (
        f"import sys; sys.path.insert(0, {PACKAGE!r}); before = set(sys.modules); "
        f"from ocirun.cli.launcher import parse; assert parse({words!r}); "
        "print(*sorted(set(sys.modules) - before))"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], capture_output=True, check=True, text=True
    )
    return set(done.stdout.split())


def test_a_hot_call_loads_the_table_the_reader_and_no_more() -> None:
    loaded = modules_after(["--root", "/x", "--log", "/y", "create", "-b", "/z", "web"])
    ours = {name for name in loaded if name.startswith("ocirun")}
    assert ours == {
        "ocirun",
        "ocirun.cli",
        "ocirun.cli.call",
        "ocirun.cli.launcher",
        "ocirun.cli.options",
        "ocirun.cli.parse",
        "ocirun.cli.verbs",
        "ocirun.errors",
    }
    assert loaded - ours <= {
        "__future__", "_collections_abc", "_stat", "errno", "genericpath", "os", "os.path",
        "posixpath", "stat", "gc",
    }  # fmt: skip


def test_the_launcher_knows_every_global_option_with_a_value() -> None:
    """It skips the value to find the verb: `--trace state create` was not sealed, and refused."""
    from ocirun.cli.options import BOOL
    from ocirun.cli.verbs import GLOBALS

    source = (Path(__file__).parents[3] / "ocirun/_build/launcher.c").read_text()
    listed = re.search(r"valued\[\] = \{(.*?)NULL\}", source, re.DOTALL)
    assert listed
    names = set(re.findall(r'"([\w-]+)"', listed[1]))
    assert names == {option.name for option in GLOBALS if option.kind != BOOL}
