"""The other ends of a container's terminal: a console socket, or a pty around the runtime."""

from __future__ import annotations

import array
import fcntl
import os
import select
import socket
import struct
import termios
import time
from pathlib import Path
from types import TracebackType


class ConsoleSocket:
    """Listens at `path` for the one message that brings the pty's master."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._listener = socket.socket(socket.AF_UNIX)
        # Long paths do not fit sockaddr_un: name it through a descriptor of its folder.
        folder = os.open(path.parent, os.O_PATH)
        self._listener.bind(f"/proc/self/fd/{folder}/{path.name}")
        os.close(folder)
        self._listener.listen()
        self.master = -1
        self.payload = b""

    def receive(self) -> int:
        """Take the master; fails unless it comes as exactly one descriptor in one message."""
        self._listener.settimeout(10)
        connection, _ = self._listener.accept()
        with connection:
            connection.settimeout(10)
            self.payload, control, _, _ = connection.recvmsg(4097, socket.CMSG_SPACE(16 * 4))
        assert len(control) == 1
        level, kind, data = control[0]
        assert (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS)
        fds = array.array("i", data)
        assert len(fds) == 1
        self.master = fds[0]
        return self.master

    def read_until(self, text: str) -> str:
        """Read what the container prints until `text` came; returns all of it."""
        return read_until(self.master, text)

    def __enter__(self) -> ConsoleSocket:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._listener.close()
        if self.master >= 0:
            os.close(self.master)


def read_until(fd: int, text: str, timeout: float = 10.0) -> str:
    """Read a terminal until `text` came; fails when it ends or is silent before."""
    seen = b""
    end = time.monotonic() + timeout
    while text.encode() not in seen:
        ready, _, _ = select.select([fd], [], [], max(0, end - time.monotonic()))
        assert ready, f"{text!r} did not come: {seen!r}"
        try:
            part = os.read(fd, 4096)
        except OSError:  # EIO: the other side is closed
            part = b""
        assert part, f"{text!r} did not come before the end: {seen!r}"
        seen += part
    return seen.decode(errors="replace")


def set_size(fd: int, rows: int, columns: int) -> None:
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
