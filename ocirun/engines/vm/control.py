"""Requests to the monitor of a machine, over a socket in the container's folder.

    PROCESS with descriptors   run a process with them as its stdio: STARTED, then EXIT; or FAILED
    SIGNAL, SIZE               for the process of the connection; without one, the container's

Only root can connect: the folder is root's alone.

Source: docs/vm.md; unix(7).
"""

from __future__ import annotations

import _socket
import os
import sys

from ocirun.engines.vm import frames
from ocirun.errors import SetupError, doing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Final

    from ocirun.container.folder import Folder
    from ocirun.engines.vm.frames import Frame

NAME: Final = "vm.sock"
MOST_FDS: Final = 3
READ_BYTES: Final = 64 << 10
INT_BYTES: Final = 4
STREAM: Final = _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC


def listen(folder: Folder) -> _socket.socket:
    """Make the socket in the container's folder.

    Raises:
        SetupError: the kernel refuses.
    """
    listener = _socket.socket(_socket.AF_UNIX, STREAM)
    with doing("making the socket of the machine's monitor"):
        listener.bind(f"/proc/self/fd/{folder.fd}/{NAME}")
        listener.listen(16)
        listener.setblocking(False)
    return listener


def connect(folder: Folder) -> Connection:
    """Connect to a machine's monitor; the caller closes the connection.

    Raises:
        SetupError: it has gone.
    """
    connection = _socket.socket(_socket.AF_UNIX, STREAM)
    with doing("connecting to the monitor of the machine"):
        connection.connect(f"/proc/self/fd/{folder.fd}/{NAME}")
    return Connection(connection, frames.FROM_GUEST)


class Connection:
    """One end of a connection; owns the socket and the descriptors in `fds`."""

    __slots__ = ("_reader", "fds", "socket")

    def __init__(self, socket: _socket.socket, limits: dict[bytes, int]) -> None:
        self.socket = socket
        self.fds: list[int] = []
        self._reader = frames.Reader(limits)

    def send(self, frame: bytes, fds: Sequence[int] = ()) -> None:
        """Send a frame, with `fds` (borrowed).

        Raises:
            SetupError: the monitor has gone.
        """
        data = b"".join(fd.to_bytes(INT_BYTES, sys.byteorder) for fd in fds)
        rights = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, data)] if fds else []
        with doing("talking to the monitor of the machine"):
            sent = self.socket.sendmsg([frame], rights, _socket.MSG_NOSIGNAL)
            # Kernel: sending nothing fails as well, once the other side has what it wanted and
            # has closed its end.
            if sent < len(frame):
                self.socket.sendall(frame[sent:], _socket.MSG_NOSIGNAL)

    def receive(self) -> list[Frame] | None:
        """Return the frames that have come, at least one message; None at the end.

        Raises:
            BadFrame: what came is no frame.
        """
        space = _socket.CMSG_SPACE(MOST_FDS * INT_BYTES)
        try:
            data, ancillary, _, _ = self.socket.recvmsg(READ_BYTES, space, _socket.MSG_CMSG_CLOEXEC)
        except (ConnectionError, BlockingIOError):
            return None
        for level, kind, rights in ancillary:
            if level == _socket.SOL_SOCKET and kind == _socket.SCM_RIGHTS:
                self.fds += [
                    int.from_bytes(rights[at : at + INT_BYTES], sys.byteorder)
                    for at in range(0, len(rights) - INT_BYTES + 1, INT_BYTES)
                ]
        return [*self._reader.feed(data)] if data else None

    def take_fds(self) -> list[int]:
        """Return the descriptors that have come, for the caller to close."""
        fds, self.fds = self.fds, []
        return fds

    def close(self) -> None:
        """Close the socket and what has come over it."""
        self.socket.close()
        for fd in self.take_fds():
            os.close(fd)


def send_signal(folder: Folder, number: int) -> None:
    """Have the monitor send a signal to the container's process.

    Raises:
        SetupError: the monitor has gone.
    """
    connection = connect(folder)
    try:
        connection.send(frames.frame(frames.SIGNAL, 0, frames.u32(number)))
        if connection.receive() is None:
            raise SetupError("unable to signal init: os: process already finished", 3)
    finally:
        connection.close()


def answer(connection: Connection, frame: bytes) -> bool:
    """Send a frame to a caller; return False if it has gone, which must not end the machine."""
    try:
        connection.send(frame)
    except SetupError:
        return False
    return True
