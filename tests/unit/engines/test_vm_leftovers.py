"""What is known of a machine if its creator is killed, and what is not touched any more."""

from __future__ import annotations

import select
import subprocess
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from harness.records import new_folder

from ocirun.container.record import Record
from ocirun.engines.vm import engine as engine_module
from ocirun.engines.vm.engine import Vm
from ocirun.engines.vm.monitor import MAX_UNSENT, Monitor

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path


class Killed(BaseException):
    """Stands for a SIGKILL: nothing is undone by who gets it."""


@pytest.fixture
def record(tmp_path: Path) -> Generator[Record]:
    with Record(new_folder(tmp_path / "root", "box")) as made:
        yield made


def test_the_cgroup_is_recorded_before_it_is_made(
    record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else `delete --force` would not find it after a SIGKILL."""

    class Cgroup:
        paths: ClassVar = {"": "/sys/fs/cgroup/box"}

        def prepare(self, _: object) -> None:
            raise Killed

    monkeypatch.setattr(engine_module, "new_cgroup", lambda *_: Cgroup())
    arguments: Any = (record, {}, None, None, None)
    with pytest.raises(Killed):
        Vm()._boot(*arguments)
    kept = Record.read(record.directory)
    assert kept is not None
    assert kept.cgroup_paths == Cgroup.paths


def test_another_container_at_the_path_of_its_cgroup_is_left_alone(
    record: Record, tmp_path: Path
) -> None:
    cgroup = tmp_path / "cgroup"
    cgroup.mkdir()
    record.cgroup_paths = {"": str(cgroup)}
    record.cgroup_inode = cgroup.stat().st_ino + 1
    with subprocess.Popen(["sleep", "60"]) as stranger:
        try:
            (cgroup / "cgroup.procs").write_text(f"{stranger.pid}\n")
            assert Vm().release(record) == []
            assert stranger.poll() is None
        finally:
            stranger.kill()


def test_a_guest_that_reads_no_answers_is_not_read() -> None:
    """It could have the monitor's memory grow: an answer is longer than what asks for it."""

    class Machine:
        pidfd, virtiofsd_pidfd, console = 11, 12, 13

    class Listener:
        def fileno(self) -> int:
            return 14

    monitor = object.__new__(Monitor)
    values: dict[str, Any] = {
        "unsent": bytearray(8),
        "wakeup": 15,
        "listener": Listener(),
        "is_gone": False,
        "agent_fd": 16,
        "machine": Machine(),
        "console": type("Console", (), {"read": None})(),
        "gate": -1,
        "is_ready": True,
        "connections": {},
        "sessions": {},
    }
    for name, value in values.items():
        setattr(monitor, name, value)
    assert monitor._handlers()[16][0] == select.POLLIN | select.POLLOUT
    monitor.unsent = bytearray(MAX_UNSENT)
    assert monitor._handlers()[16][0] == select.POLLOUT
