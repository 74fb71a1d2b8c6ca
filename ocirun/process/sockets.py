"""Descriptors handed to sockets of the caller: the terminal's master, a pidfd.

Source: unix(7); socket(7), SO_SNDTIMEO; docs/runc-compat/protocols.md#console-socket,
docs/runc-compat/protocols.md#pidfd-socket.
"""

from __future__ import annotations

import _socket
import os
import stat
import sys
from errno import ENOTSOCK

from ocirun.errors import doing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final

SIZE_OF_LONG: Final = sys.maxsize.bit_length() // 8 + 1


def connect_unix(path: str, *, wait_s: int = 0) -> int:
    """Connect to the stream socket at `path`, however long that is.

    Without waiting, except up to `wait_s` seconds for a busy listener such as a seccomp agent.

    Returns:
        The connection, close-on-exec; the caller closes it.

    Raises:
        SetupError: there is no socket, nobody listens, or too many wait there already.
    """
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    try:
        with doing(f"connecting to {path}"):
            _require_socket(path)
            # Kernel: connect(2) waits while the listener's backlog is full, for SO_SNDTIMEO.
            connection.setblocking(wait_s > 0)
            if wait_s:
                _limit_waiting(connection, wait_s)
            try:
                through_folder(path, connection.connect)
            except BlockingIOError as error:
                raise OSError(
                    error.errno,
                    "the socket's backlog is full: its listener accepts no connections "
                    "(resource temporarily unavailable)",
                ) from error
            connection.setblocking(True)
    except BaseException:
        connection.close()
        raise
    return connection.detach()


def _limit_waiting(connection: _socket.socket, seconds: int) -> None:
    whole = seconds.to_bytes(SIZE_OF_LONG, sys.byteorder)
    timeval = whole + bytes(SIZE_OF_LONG)
    connection.setsockopt(_socket.SOL_SOCKET, _socket.SO_SNDTIMEO, timeval)


def _require_socket(path: str) -> None:
    if not stat.S_ISSOCK(os.stat(path).st_mode):
        raise OSError(ENOTSOCK, "it is not a socket")


def through_folder(path: str, act: Callable[[str], object]) -> None:
    """Call `act` with an address that means `path`, however long that is.

    sockaddr_un holds 108 bytes; through a descriptor of the folder any path fits.
    """
    directory, _, name = path.rpartition("/")
    folder = os.open(directory or ("/" if path.startswith("/") else "."), os.O_PATH | os.O_CLOEXEC)
    try:
        act(f"/proc/self/fd/{folder}/{name}")
    finally:
        os.close(folder)


def send_fd(socket_fd: int, fd: int, payload: str) -> None:
    """Send `fd` (borrowed, like `socket_fd`) in one message with `payload` as its bytes."""
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, socket_fd)
    try:
        rights = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, fd.to_bytes(4, sys.byteorder))]
        connection.sendmsg([os.fsencode(payload)], rights, _socket.MSG_NOSIGNAL)
    finally:
        connection.detach()


def receive_fd(socket_fd: int) -> int:
    """Receive the one descriptor of the next message on `socket_fd` (borrowed).

    Returns:
        The descriptor, close-on-exec; the caller closes it.

    Raises:
        ConnectionError: the other side closed without sending one.
    """
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, socket_fd)
    try:
        _, ancillary, _, _ = connection.recvmsg(
            4096, _socket.CMSG_SPACE(4), _socket.MSG_CMSG_CLOEXEC
        )
    finally:
        connection.detach()
    for level, kind, data in ancillary:
        if level == _socket.SOL_SOCKET and kind == _socket.SCM_RIGHTS:
            return int.from_bytes(data[:4], sys.byteorder)
    raise ConnectionResetError("no descriptor was sent")
