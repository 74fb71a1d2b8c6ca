"""A command line without containers: `container.*` is replaced by recorders."""

from __future__ import annotations

import os
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from ocirun.errors import ContainerNotFound, HookError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


class World:
    """What the commands were asked to do (`calls`), and what they are to be told."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.states: dict[str, dict[str, object]] = {}
        self.failure: BaseException | None = None
        self.status = 0
        self.poststop: list[HookError] = []
        self.broken: list[str] = []

    def note(self, *call: object) -> None:
        self.calls.append(call)
        if self.failure is not None:
            raise self.failure

    def state_of(self, store: Store, name: str) -> dict[str, object]:
        self.note("state", store.root, name)
        if name not in self.states:
            raise ContainerNotFound(name)
        return self.states[name]

    def create(self, *call: object) -> SimpleNamespace:
        self.note("create", *call)
        return SimpleNamespace(
            close=lambda: None,
            init_process_pid=os.getpid(),
            init_process_start=1,
            init_pidfd=os.pidfd_open(os.getpid()),
        )

    def run(self, *call: object, **how: object) -> tuple[int, list[HookError]]:
        self.note("run", *call, how)
        return self.status, self.poststop

    def checkpoint(self, *call: object) -> list[HookError]:
        self.note("checkpoint", *call)
        return self.poststop

    def restore(self, *call: object, **how: object) -> tuple[int, list[HookError]]:
        self.note("restore", *call, how)
        return self.status, self.poststop

    def delete(self, store: Store, name: str, force: bool) -> list[HookError]:
        self.note("delete", store.root, name, force)
        return self.poststop


class Store:
    """The fake store knows its root and the world's ids."""

    world: World

    def __init__(self, root: str) -> None:
        self.root = root

    def __repr__(self) -> str:
        return f"Store({self.root})"

    def ids(self) -> list[str]:
        return sorted(self.world.states)

    recorded_ids = ids

    def load(self, name: str) -> SimpleNamespace:
        if name not in self.world.states:
            raise ContainerNotFound(name)
        return SimpleNamespace(close=lambda: None)


def signal_number(word: str) -> int:
    numbers = {"SIGTERM": 15, "TERM": 15, "KILL": 9, "9": 9}
    if word not in numbers:
        raise UsageError(f'unknown signal "{word}"')
    return numbers[word]


class Options(SimpleNamespace):
    """Options that nobody has set have the value of the real ones."""

    document = None


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """Replace the modules below `container` by recorders, for this test only."""
    result = World()
    Store.world = result
    fakes: dict[str, dict[str, Any]] = {
        "store": {"Store": Store, "default_root": lambda: "/run/default"},
        "create": {"create": result.create},
        "written": {"Written": lambda _: None},
        "options": {"CreateOptions": Options},
        "run": {"run": result.run},
        "checkpoint": {"checkpoint": result.checkpoint},
        "restore": {"restore": result.restore},
        "start": {"start": lambda store, *call: result.note("start", store.root, *call)},
        "kill": {
            "kill": lambda store, *call: result.note("kill", store.root, *call),
            "signal_number": signal_number,
        },
        "delete": {"delete": result.delete},
        "state": {
            "state_of": result.state_of,
            "list_states": lambda store: (
                [result.states[name] for name in store.ids()],
                result.broken,
            ),
        },
    }
    for name, members in fakes.items():
        module = ModuleType(f"ocirun.container.{name}")
        vars(module).update(members)
        monkeypatch.setitem(sys.modules, module.__name__, module)
    for name in list(sys.modules):
        if name.startswith(("ocirun.cli.commands.", "ocirun.library.")):
            monkeypatch.delitem(sys.modules, name)
    yield result
    for name in list(sys.modules):
        if name.startswith(("ocirun.cli.commands.", "ocirun.library.")):
            del sys.modules[name]
