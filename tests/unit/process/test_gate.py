"""The start gate: of two starts the winner never fails for what the other one does."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from ocirun.process import gate


def test_removing_it_twice_at_once_is_fine(tmp_path: Path) -> None:
    """Between looking for a file and removing it somebody else may remove it."""
    path = tmp_path / gate.NAME
    dir_fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    failures: list[BaseException] = []

    def remove() -> None:
        try:
            gate.remove_gate(dir_fd)
        except OSError as error:
            failures.append(error)

    for _ in range(200):
        path.touch()
        threads = [threading.Thread(target=remove) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    os.close(dir_fd)
    assert failures == []


def test_a_gate_that_nobody_waits_at_is_open(tmp_path: Path) -> None:
    """A start that was killed has left the files; init has become its program meanwhile."""
    directory = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    assert not gate.is_closed(directory)
    fds = gate.make_gate(directory)
    assert gate.is_closed(directory)
    for fd in fds:
        os.close(fd)
    assert (tmp_path / gate.NAME).exists()
    assert not gate.is_closed(directory)
