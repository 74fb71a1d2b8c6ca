"""The acts that create, exec and restore have in common: their order, and how they are undone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ocirun.container.new_process import NewProcess
from ocirun.container.options import ProcessOptions
from ocirun.errors import SetupError, UsageError


class Parent:
    """A conversation with process 4711, which writes down what is done to it."""

    pid = 4711
    pidfd = -1

    def __init__(self, done: list[str]) -> None:
        self.close = lambda: done.append("closed")
        self.abandon = lambda: done.append("killed")


class Fake(NewProcess):
    """A process that comes into being by itself, and fails at the act named `fails_at`."""

    def __init__(self, options: ProcessOptions, fails_at: str = "") -> None:
        super().__init__(options, None)
        self.done: list[str] = []
        self.fails_at = fails_at

    def act(self, name: str) -> None:
        self.done.append(name)
        if name == self.fails_at:
            raise SetupError("refused")

    def prepare(self) -> None:
        self.fds.append(os.open("/", os.O_RDONLY))
        self.fd = self.fds[0]
        self.act("prepare")

    def bring_in(self) -> None:
        self.parent = Parent(self.done)  # type: ignore[assignment]  # all that is asked of it
        self.register_parent()
        self.act("bring_in")

    def publish(self) -> None:
        self.act("publish")
        super().publish()


def test_the_acts_come_in_order_and_descriptors_are_closed_at_the_end(tmp_path: Path) -> None:
    process = Fake(ProcessOptions(pid_file=f"{tmp_path}/pid"))
    process.bring()
    assert process.done == ["prepare", "bring_in", "publish"]
    assert (tmp_path / "pid").read_text() == "4711"
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(process.fd)


@pytest.mark.parametrize(
    ("fails_at", "undone"),
    [("prepare", []), ("bring_in", ["killed", "closed"]), ("publish", ["killed", "closed"])],
)
def test_a_failure_undoes_what_was_done_before(
    fails_at: str, undone: list[str], tmp_path: Path
) -> None:
    process = Fake(ProcessOptions(pid_file=f"{tmp_path}/pid"), fails_at)
    with pytest.raises(SetupError, match="refused"):
        process.bring()
    assert process.done[process.done.index(fails_at) + 1 :] == undone
    assert not (tmp_path / "pid").exists()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(process.fd)


def test_a_pid_file_that_cannot_be_written_is_refused_before_anything_is_made(
    tmp_path: Path,
) -> None:
    process = Fake(ProcessOptions(pid_file=str(tmp_path)))
    with pytest.raises(UsageError, match="not a regular file"):
        process.bring()
    assert process.done == []


def test_a_pid_file_that_cannot_be_written_at_last_undoes_everything(tmp_path: Path) -> None:
    process = Fake(ProcessOptions(pid_file=f"{tmp_path}/not/there"))
    with pytest.raises(SetupError, match="writing the pid file"):
        process.bring()
    assert process.done == ["prepare", "bring_in", "publish", "killed", "closed"]
