"""What one thread of the soak does: lives of containers, one after the other, each as it should be.

All through the library, in a program that goes on living: what it forgets to give back stays.
"""

from __future__ import annotations

import contextlib
import random
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from harness import machine

import ocirun
from ocirun.container.pause import pause, resume
from ocirun.container.store import Store
from ocirun.errors import OcirunError

PATIENCE_S = 20.0


class Worker:
    """Lets containers live until `end`; counts what it did in `done`."""

    def __init__(self, name: str, bundles: dict[str, Path], root: Path, command: str) -> None:
        self.name = name
        self.done: Counter[str] = Counter()
        self.failure: BaseException | None = None
        self._bundles = bundles
        self._root = str(root)
        self._command = command
        self._random = random.Random(name)  # which life comes next need not be a secret
        self._lives: list[Callable[[str], None]] = [
            self._whole_life,
            self._whole_life,
            self._forced_away,
            self._never_created,
            self._never_started,
            self._exec_refused,
            self._by_command,
        ]

    def work(self, end: float) -> None:
        """Go on until `end`, of time.monotonic, or the first thing that is not as it should be."""
        try:
            while time.monotonic() < end:
                number = self.done.total()
                self._random.choice(self._lives)(f"{machine.MARK}-{self.name}-{number}")
        except BaseException as error:  # noqa: BLE001  # told by the main thread
            self.failure = error

    def _create(self, container_id: str, bundle: str) -> ocirun.Container:
        where = str(self._bundles[bundle])
        return ocirun.Container.create(container_id, where, root=self._root)

    def _whole_life(self, container_id: str) -> None:
        container = self._create(container_id, "waits")
        _expect(container, "created")
        container.start()
        store = Store(self._root)
        for status in (0, 3):
            child = container.exec(["/bin/sh", "-c", f"exit {status}"])
            assert child.wait() == status
            self.done["exec"] += 1
        pause(store, container_id)
        _expect(container, "paused")
        resume(store, container_id)
        _expect(container, "running")
        container.kill("KILL")
        assert container.wait() == -9
        _expect(container, "stopped")
        assert container.delete() == []
        self.done["lives"] += 1

    def _forced_away(self, container_id: str) -> None:
        where = str(self._bundles["forks"])
        container = ocirun.Container.run(container_id, where, root=self._root)
        pause(Store(self._root), container_id)
        container.delete(force=True)
        self.done["forced away"] += 1

    def _never_created(self, container_id: str) -> None:
        with _refused("no such file or directory"):
            self._create(container_id, "broken")
        self.done["refused"] += 1

    def _never_started(self, container_id: str) -> None:
        container = self._create(container_id, "bad-hook")
        with _refused("startContainer"):
            container.start()
        container.delete(force=True)
        self.done["refused"] += 1

    def _exec_refused(self, container_id: str) -> None:
        container = self._create(container_id, "waits")
        container.start()
        with _refused("no such file or directory"):
            container.exec(["/bin/not-there"])
        container.delete(force=True)
        self.done["refused"] += 1

    def _by_command(self, container_id: str) -> None:
        words = [self._command, "--root", self._root, "run", "--bundle", self._bundles["ends"]]
        done = subprocess.run([*words, container_id], stdin=subprocess.DEVNULL, check=False)
        assert done.returncode == 7, done
        self.done["by command"] += 1


def _expect(container: ocirun.Container, status: str) -> None:
    found = container.state()["status"]
    assert found == status, f"{container.id} is {found}, not {status}"


@contextlib.contextmanager
def _refused(words: str):  # noqa: ANN202  # a context manager
    try:
        yield
    except OcirunError as error:
        assert words in str(error), error  # noqa: PT017
    else:
        raise AssertionError(f"not refused: {words}")
