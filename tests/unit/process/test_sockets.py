"""Connections to sockets of the caller: none is waited for without an end."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Generator
from pathlib import Path

import pytest

from ocirun.errors import SetupError
from ocirun.process.sockets import connect_unix


@pytest.fixture
def full(tmp_path: Path) -> Generator[Path, None, None]:
    """A socket whose listener takes nobody, and where one waits already."""
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as first:
        listener.bind(os.fspath(path))
        listener.listen(0)
        first.connect(os.fspath(path))
        yield path


@pytest.mark.parametrize("wait_s", [0, 1])
def test_a_full_backlog_is_waited_at_for_so_long(full: Path, wait_s: int) -> None:
    before = os.listdir("/proc/self/fd")
    begun = time.monotonic()
    with pytest.raises(SetupError, match="backlog is full"):
        connect_unix(os.fspath(full), wait_s=wait_s)
    assert wait_s <= time.monotonic() - begun < wait_s + 5
    assert os.listdir("/proc/self/fd") == before


@pytest.mark.parametrize("wait_s", [0, 10])
def test_a_connection_waits_for_its_peer(tmp_path: Path, wait_s: int) -> None:
    """The limit is for the connection and not for reading: the descriptor blocks."""
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.fspath(path))
        listener.listen(1)
        fd = connect_unix(os.fspath(path), wait_s=wait_s)
        assert os.get_blocking(fd)
        assert not os.get_inheritable(fd)
        os.close(fd)
