"""Commands only translate: options in, one call of container/, exact bytes out."""

from __future__ import annotations

import json
import os

import pytest

from ocirun.cli.launcher import act
from ocirun.errors import HookError, OcirunError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path

    from unit.cli.conftest import World

WEB: dict[str, object] = {
    "ociVersion": "1.3.0",
    "id": "web",
    "pid": 4026,
    "status": "running",
    "bundle": "/srv/a rather long path/web",
    "rootfs": "/srv/web/rootfs",
    "created": "2026-11-22T10:12:24.840707041Z",
    "annotations": {"a/b": "é"},
    "owner": "root",
}


STOPPED = WEB | {"id": "a-longer-name", "pid": 0, "status": "stopped"}


def test_create_hands_over_every_option(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = (
        "create --bundle b -config c.json --console-socket s1 -pidfd-socket=s2 --pid-file p "
        "--no-pivot --no-new-keyring --preserve-fds 3 --detach web"
    )
    assert act(["--systemd-cgroup", *words.split()]) == 0
    [(verb, store, name, options)] = world.calls
    assert (verb, str(store), name) == ("create", "Store(/run/default)", "web")
    assert vars(options) == {
        "bundle": str(tmp_path / "b"),
        "config": "c.json",
        "console_socket": str(tmp_path / "s1"),
        "pidfd_socket": str(tmp_path / "s2"),
        "pid_file": str(tmp_path / "p"),
        "no_pivot": True,
        "no_new_keyring": True,
        "preserve_fds": 3,
        "cgroup_manager": "systemd",
        "rootless": "auto",
        "notify_socket": None,
        "tell": None,
        "engine": "",
    }


def test_create_without_options(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert act(["--debug", "create", "-b", "", "web"]) == 0
    options = world.calls[0][3]
    assert callable(options.tell)
    assert vars(options) | {"tell": None} == {
        "bundle": str(tmp_path),
        "engine": "",
        "config": "config.json",
        "console_socket": None,
        "pidfd_socket": None,
        "pid_file": None,
        "no_pivot": False,
        "no_new_keyring": False,
        "preserve_fds": 0,
        "cgroup_manager": "cgroupfs",
        "rootless": "auto",
        "notify_socket": None,
        "tell": None,
    }


@pytest.mark.parametrize(
    ("words", "how"),
    [
        ("run web", {"detach": False, "keep": False, "subreaper": True}),
        ("run -d --keep web", {"detach": True, "keep": True, "subreaper": True}),
        ("run --no-subreaper web", {"detach": False, "keep": False, "subreaper": False}),
    ],
)
def test_run_passes_its_flags_on(world: World, words: str, how: dict[str, bool]) -> None:
    assert act(words.split()) == 0
    assert world.calls[0][-1] == how


@pytest.mark.parametrize(
    ("words", "call"),
    [
        ("kill web", ("web", 15, False)),
        ("kill web KILL", ("web", 9, False)),
        ("kill --all web 9", ("web", 9, True)),
        ("kill -a web 9", ("web", 9, True)),
    ],
)
def test_kill_reads_the_signal(world: World, words: str, call: tuple[object, ...]) -> None:
    assert act(words.split()) == 0
    assert world.calls == [("kill", "/run/default", *call)]


def test_kill_of_an_unknown_signal(world: World, capfd: pytest.CaptureFixture[str]) -> None:
    assert act(["kill", "web", "LOUD"]) == 1
    assert "does not exist" in capfd.readouterr().err
    world.states["web"] = WEB
    assert act(["kill", "web", "LOUD"]) == 1
    assert 'unknown signal \\"LOUD\\"' in capfd.readouterr().err
    assert world.calls == []


def test_kill_by_regular_expression(world: World) -> None:
    world.states = {"web-1": WEB, "web-2": WEB, "db": WEB}
    assert act(["kill", "--regex", "^web-", "KILL"]) == 0
    assert [call[2] for call in world.calls] == ["web-1", "web-2"]


def test_delete_reads_force_before_and_after_the_id(world: World) -> None:
    assert act(["delete", "web"]) == 0
    assert act(["delete", "--force", "web"]) == 0
    assert act(["delete", "web", "-f"]) == 0
    assert [call[2:] for call in world.calls] == [("web", False), ("web", True), ("web", True)]


def test_delete_by_regular_expression_gives_each_its_turn(
    world: World, capfd: pytest.CaptureFixture[str]
) -> None:
    world.states = {"web-1": WEB, "web-2": WEB, "db": WEB}
    world.failure = OcirunError("it resists")
    assert act(["delete", "-r", "web"]) == 1
    assert [call[2] for call in world.calls] == ["web-1", "web-2"]
    printed = capfd.readouterr().err
    assert (printed.count("level=warning"), printed.count("level=error")) == (1, 1)
    assert act(["delete", "-r", "("]) == 1
    assert "invalid regular expression" in capfd.readouterr().err


@pytest.mark.parametrize("words", ["run web", "delete web", "delete -r web"])
def test_a_failed_poststop_hook_is_a_warning(
    words: str, world: World, capfd: pytest.CaptureFixture[str]
) -> None:
    world.states["web"] = WEB
    world.poststop = [HookError("poststop", 0, "/bin/hook", "exit status 1")]
    assert act(words.split()) == 0
    printed = capfd.readouterr().err
    assert "level=warning" in printed
    assert "error running poststop hook #0: /bin/hook: exit status 1" in printed


def test_list_names_what_it_cannot_read_and_goes_on(
    world: World, capfd: pytest.CaptureFixture[str]
) -> None:
    world.states["web"] = WEB
    world.broken = ["load container db: container does not exist"]
    assert act(["list", "-f", "json"]) == 0
    printed = capfd.readouterr()
    assert json.loads(printed.out) == [WEB]
    assert "load container db: container does not exist" in printed.err


def test_state_is_indented_by_two_and_ends_without_a_newline(
    world: World, capfd: pytest.CaptureFixture[str]
) -> None:
    world.states["web"] = WEB
    assert act(["state", "web"]) == 0
    printed = capfd.readouterr()
    assert printed.err == ""
    assert printed.out == json.dumps(WEB, indent=2, ensure_ascii=False)


def test_list_as_a_table_is_aligned_as_go_s_tabwriter_does(
    world: World, capfd: pytest.CaptureFixture[str]
) -> None:
    world.states = {"web": WEB, "other": STOPPED}
    assert act(["list"]) == 0
    assert capfd.readouterr().out == (
        "ID              PID         STATUS      BUNDLE                        "
        "CREATED                          OWNER\n"
        "a-longer-name   0           stopped     /srv/a rather long path/web   "
        "2026-11-22T10:12:24.840707041Z   root\n"
        "web             4026        running     /srv/a rather long path/web   "
        "2026-11-22T10:12:24.840707041Z   root\n"
    )


def test_list_of_nothing(world: World, capfd: pytest.CaptureFixture[str]) -> None:
    assert world.states == {}
    assert act(["list"]) == 0
    assert capfd.readouterr().out == (
        "ID          PID         STATUS      BUNDLE      CREATED     OWNER\n"
    )
    assert act(["list", "--format=json"]) == 0
    assert capfd.readouterr().out == "null\n"
    assert act(["list", "-q"]) == 0
    assert capfd.readouterr().out == ""


def test_list_as_json_and_quietly(world: World, capfd: pytest.CaptureFixture[str]) -> None:
    world.states = {"web": WEB, "db": WEB | {"id": "db"}}
    assert act(["list", "-f", "json"]) == 0
    printed = capfd.readouterr().out
    assert printed.endswith("}]\n")
    assert " " not in printed.replace("a rather long path", "")
    assert json.loads(printed) == [WEB | {"id": "db"}, WEB]
    assert act(["list", "--quiet"]) == 0
    assert capfd.readouterr().out == "db\nweb\n"


@pytest.mark.usefixtures("world")
def test_list_refuses_an_unknown_format_and_a_missing_root(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert act(["list", "-f", "xml"]) == 1
    assert "invalid format option" in capfd.readouterr().err
    assert act(["--root", str(tmp_path / "none"), "list"]) == 1
    assert f"open {tmp_path}/none: no such file or directory" in capfd.readouterr().err


def test_spec_writes_a_bundle_and_never_over_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    old = os.umask(0o027)
    try:
        assert act(["spec"]) == 0
    finally:
        os.umask(old)
    config = tmp_path / "config.json"
    assert config.stat().st_mode & 0o777 == 0o640
    text = config.read_text()
    assert text.startswith('{\n\t"ociVersion": "1.')
    assert text.endswith("\n}")
    assert act(["spec"]) == 1
    assert "File config.json exists. Remove it first" in capfd.readouterr().err
    assert config.read_text() == text
    (tmp_path / "other").mkdir()
    assert act(["spec", "--bundle", "other", "--file", "x.json", "--rootless"]) == 0
    rootless = json.loads((tmp_path / "other" / "x.json").read_text())
    assert "user" in {entry["type"] for entry in rootless["linux"]["namespaces"]}
    assert act(["spec", "--bundle", "none"]) == 1
    assert "chdir none: no such file or directory" in capfd.readouterr().err


def test_features_is_indented_by_four(capfd: pytest.CaptureFixture[str]) -> None:
    assert act(["features"]) == 0
    printed = capfd.readouterr()
    assert printed.err == ""
    assert printed.out.startswith('{\n    "ociVersionMin": "1.0.0"')
    assert printed.out.endswith("\n}\n")


def test_validate_prints_every_problem_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rootfs").mkdir()
    assert act(["spec"]) == 0
    assert act(["validate"]) == 0
    assert act(["validate", "-f", "json", str(tmp_path)]) == 0
    assert capfd.readouterr().out == "config.json: no rule is broken\n[]\n"
    assert act(["validate", "--strict"]) == 0
    capfd.readouterr()
    config = json.loads((tmp_path / "config.json").read_text())
    config["linux"]["namespaces"][0]["type"] = "networks"
    config["process"]["cwd"] = 7
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert act(["validate"]) == 1
    printed = capfd.readouterr()
    assert printed.err == ""
    lines = printed.out.splitlines()
    assert {line.split(": ")[1] for line in lines} == {
        "/linux/namespaces/0/type",
        "/process/cwd",
    }
    assert act(["validate", "--format", "json"]) == 1
    problems = json.loads(capfd.readouterr().out)
    names = {"file", "severity", "pointer", "message", "remedy"}
    assert [set(one) for one in problems] == [names] * len(lines)
    assert {(one["file"], one["severity"]) for one in problems} == {("config.json", "error")}


def test_validate_warns_of_what_is_misspelled(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """By the path that was given, of a folder or a file; --strict makes a failure of it."""
    bundle = tmp_path / "box"
    (bundle / "rootfs").mkdir(parents=True)
    assert act(["spec", "--bundle", str(bundle)]) == 0
    file = bundle / "config.json"
    config = json.loads(file.read_text())
    config["linux"]["seccompp"] = {}
    file.write_text(json.dumps(config))
    sentences = (
        f"{file}: warning: /linux/seccompp: is not a known member and is ignored "
        f'(did you mean "seccomp"?)\n{file}: no rule is broken\n'
    )
    for words, status in (
        ([str(bundle)], 0),
        ([str(file)], 0),
        (["--strict", str(bundle)], 1),
        (["--strict", str(file)], 1),
    ):
        assert act(["validate", *words]) == status
        assert capfd.readouterr() == (sentences, "")
    assert act(["validate", "--format", "json", str(file)]) == 0
    [row] = json.loads(capfd.readouterr().out)
    assert (row["file"], row["severity"], row["pointer"]) == (
        str(file),
        "warning",
        "/linux/seccompp",
    )
    assert act(["validate", "--config", "other.json", str(file)]) == 1
    assert f"--config names a file in a bundle, and {file} is" in capfd.readouterr().err


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b'{"a":1,"a":2}', b"[" * 100_000])
def test_validate_of_something_else_than_json(
    content: bytes, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.json").write_bytes(content)
    assert act(["validate", str(tmp_path)]) == 1
    printed = capfd.readouterr()
    assert printed.out.startswith(f"{tmp_path}/config.json: ")
    assert printed.err == ""


def test_validate_without_a_file(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert act(["validate", str(tmp_path)]) == 1
    assert capfd.readouterr().out == f"{tmp_path}/config.json: not found\n"
    assert act(["validate", str(tmp_path / "other.json")]) == 1
    assert capfd.readouterr().out == f"{tmp_path}/other.json: not found\n"
    assert act(["validate", str(tmp_path / "nowhere")]) == 1
    assert capfd.readouterr().out == f"{tmp_path}/nowhere/config.json: not found\n"
    assert act(["validate", "--format", "xml"]) == 1
    assert "invalid format option" in capfd.readouterr().err
