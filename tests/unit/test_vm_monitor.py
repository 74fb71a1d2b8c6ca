"""A bug in a monitor: a sentence to whoever waits and in the folder, the traceback for --debug."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ocirun.container.folder import OPEN_FOLDER, Folder
from ocirun.engines.vm.execution import fork
from ocirun.engines.vm.failure import FAILURE, TRACEBACK
from ocirun.engines.vm.monitor import LOST, READY, Monitor
from ocirun.engines.vm.order import Order
from ocirun.errors import SetupError

SENTENCE = "internal error: KeyError: 'a bug', please report it"


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    (tmp_path / "box").mkdir(mode=0o700)
    return Folder(os.open(tmp_path, OPEN_FOLDER), str(tmp_path), "box")


def monitor_with_a_bug(folder: Folder, report: int, gate: tuple[int, int], *, late: bool) -> int:
    order = object.__new__(Order)
    order.gate = gate
    monitor = Monitor(order, folder, report)

    def start() -> None:
        if late:
            os.write(report, READY)
            os.close(report)
            monitor.report = -1

    def serve() -> int:
        raise KeyError("a bug")

    monitor._start, monitor._serve = start, serve  # type: ignore[method-assign]
    return monitor.run()


def test_a_bug_before_the_gate_is_what_create_reports(folder: Folder) -> None:
    with pytest.raises(SetupError) as error:
        fork(
            lambda report: monitor_with_a_bug(folder, report, (-1, -1), late=False),
            [folder.fd],
        )
    assert str(error.value) == SENTENCE
    assert 'raise KeyError("a bug")' in error.value.__notes__[0]
    assert folder.read(FAILURE) == SENTENCE.encode()


def test_a_bug_of_a_running_machine_is_in_its_folder(folder: Folder) -> None:
    reading, writing = os.pipe()
    pid, pidfd, _ = fork(
        lambda report: monitor_with_a_bug(folder, report, (-1, writing), late=True),
        [folder.fd, writing],
    )
    os.close(writing)
    os.close(pidfd)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == LOST
    with open(reading, "rb") as answer:
        assert answer.read() == SENTENCE.encode()  # what `start` reports
    assert folder.read(FAILURE) == SENTENCE.encode()
    assert b'raise KeyError("a bug")' in (folder.read(TRACEBACK) or b"")


def test_a_bug_where_the_machine_is_stopped_is_reported_as_well(folder: Folder) -> None:
    def act(report: int) -> int:
        order = object.__new__(Order)
        order.gate = (-1, -1)
        monitor = Monitor(order, folder, report)
        monitor._start = lambda: None  # type: ignore[method-assign]
        monitor._serve = lambda: 0  # type: ignore[method-assign]
        monitor.machine = None  # type: ignore[assignment]  # has no stop()
        return monitor.run()

    with pytest.raises(SetupError, match="internal error: AttributeError: "):
        fork(act, [folder.fd])
