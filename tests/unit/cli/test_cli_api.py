"""`import ocirun`: cheap until something of it is used."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import ocirun
from ocirun.errors import ContainerNotFound, OcirunError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from unit.cli.conftest import World

LAUNCHER = "/usr/bin/ocirun"
PACKAGE = str(Path(ocirun.__file__).parents[1])


@pytest.fixture
def container_class(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> Iterator[type[ocirun.Container]]:
    assert not world.calls
    monkeypatch.setattr("ocirun.process.command.find_command", lambda: LAUNCHER)
    vars(ocirun).pop("Container", None)
    yield ocirun.Container
    from ocirun.library import children

    for child in list(children._children):
        child.close()
    vars(ocirun).pop("Container", None)


def test_the_error_classes_are_the_real_ones() -> None:
    assert ocirun.OcirunError is OcirunError
    assert ocirun.ContainerNotFound is ContainerNotFound
    with pytest.raises(AttributeError, match="has no attribute 'Nothing'"):
        _ = ocirun.Nothing  # type: ignore[attr-defined]  # that is the point
    assert set(ocirun.__all__) <= set(dir(ocirun))


def test_every_error_class_is_offered() -> None:
    from ocirun import errors

    classes = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, OcirunError)
    }
    classes |= {"Container", "CompletedContainer", "ExecProcess", "Process", "Spec"}
    functions = {"run", "close_helper", "aio"}
    assert set(ocirun.__all__) == classes | functions | {"PIPE", "STDOUT", "DEVNULL"}


def test_importing_the_package_loads_nothing_else() -> None:
    code = (
        f"import sys; sys.path.insert(0, {PACKAGE!r}); before = set(sys.modules); import ocirun; "
        "print(*sorted(set(sys.modules) - before))"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], capture_output=True, check=True, text=True
    )
    assert done.stdout.split() == ["__future__", "ocirun"]


def test_create_executes_its_init(
    container_class: type[ocirun.Container],
    world: World,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    container = container_class.create("web", "b", root="state", pid_file="pid", preserve_fds=2)
    assert repr(container) == f"Container('web', root='{tmp_path}/state')"
    [(verb, store, name, options, stdio)] = world.calls
    assert (verb, store.root, name) == ("create", str(tmp_path / "state"), "web")
    assert (options.command, stdio.fds) == (LAUNCHER, [0, 1, 2])
    assert (options.bundle, options.pid_file) == (str(tmp_path / "b"), str(tmp_path / "pid"))
    assert (options.preserve_fds, options.console_socket) == (2, None)


def test_the_library_calls_each_verb(container_class: type[ocirun.Container], world: World) -> None:
    world.states["web"] = {"id": "web", "status": "created"}
    container = container_class("web")
    container.start()
    container.kill()
    container.kill("KILL", everyone=True)
    container.kill(10)
    container.delete(force=True)
    assert container.state() == {"id": "web", "status": "created"}
    root = "/run/default"
    assert world.calls == [
        ("start", root, "web", None),
        ("kill", root, "web", 9, False),
        ("kill", root, "web", 9, True),
        ("kill", root, "web", 10, False),
        ("delete", root, "web", True),
        ("state", root, "web"),
    ]
    with pytest.raises(ValueError, match="LOUD"):
        container.kill("LOUD")


def test_run_creates_and_starts(container_class: type[ocirun.Container], world: World) -> None:
    container_class.run("web", "/b")
    assert [call[0] for call in world.calls] == ["create", "start"]


def test_a_container_that_cannot_start_is_deleted(
    container_class: type[ocirun.Container], monkeypatch: pytest.MonkeyPatch, world: World
) -> None:
    def refuse(_: object) -> None:
        raise OcirunError("it will not start")

    monkeypatch.setattr(container_class, "start", refuse)
    with pytest.raises(OcirunError, match="it will not start"):
        container_class.run("web", "/b")
    assert [(call[0], call[-1]) for call in world.calls][1:] == [("delete", True)]
