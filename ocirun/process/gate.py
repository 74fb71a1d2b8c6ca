"""A created container waits here; `start` opens the gate.

A listening Unix socket in the container's state directory. Its presence there is what makes a
container `created` rather than `running`. Init inherits the listener, so that it opens no path
after the pivot; `start` connects, and the connection stays open in init until execve closes it:
`start` therefore learns whether startContainer hooks and execve succeeded, which a FIFO cannot
tell. Exactly one `start` wins, because init accepts exactly one connection.

    start                                init
      │ connect, 'g' ───────────────────► │ accept, close the listener
      │ ◄──────────────────────────── 'g' │
      │   (the socket file is removed)    │ startContainer hooks, execve
      │ ◄─────────────── end-of-file      │ the program runs
      │ ◄─────────────── an error, EOF    │ or a hook or execve failed

Source: runtime-spec runtime.md#lifecycle steps 7 to 9.
"""

from __future__ import annotations

import _socket
import os

from ocirun.errors import doing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

NAME: Final = "start.sock"
GO: Final = b"g"
MAX_ERROR_BYTES: Final = 64 << 10


def make_gate(directory: str) -> int:
    """Make the gate of the container whose state directory is `directory`.

    Returns:
        The listener, close-on-exec; the caller gives it to init and closes it.
    """
    listener = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    with doing("making the start gate"), _ShortPath(directory) as path:
        listener.bind(path)
        listener.listen(1)
    return listener.detach()


def is_closed(directory: str) -> bool:
    """Tell whether the container has not been started yet."""
    try:
        os.lstat(f"{directory}/{NAME}")
    except FileNotFoundError:
        return False
    return True


def wait_at_gate(listener_fd: int) -> int:
    """In init: wait for `start`.

    Returns:
        The connection to tell of failure on; close-on-exec, so that execve says all went well.
    """
    listener = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, listener_fd)
    # socket.accept wraps this one, in a class whose import costs 9 ms.
    fd, _ = listener._accept()  # type: ignore[attr-defined]  # typeshed leaves it out
    # Order: closed before the answer, so that a second `start` is refused and not kept waiting.
    listener.close()
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, fd)
    connection.recv(len(GO))
    connection.send(GO, _socket.MSG_NOSIGNAL)
    return connection.detach()


def open_gate(directory: str) -> str | None:
    """Let init go on, and wait until it runs the program.

    Returns:
        None when it does; else the sentence that says what failed.

    Raises:
        FileNotFoundError, ConnectionError: the gate is not there, or no init waits at it (any
            more): somebody else has started the container, or init died.
    """
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    try:
        with _ShortPath(directory) as path:
            connection.connect(path)
        connection.send(GO, _socket.MSG_NOSIGNAL)
        if connection.recv(len(GO)) != GO:
            raise ConnectionResetError("init went away from the start gate")
        remove_gate(directory)
        error = bytearray()
        while len(error) < MAX_ERROR_BYTES and (piece := connection.recv(4096)):
            error += piece
        return os.fsdecode(bytes(error)) if error else None
    finally:
        connection.close()


def remove_gate(directory: str) -> None:
    """Take the socket file away: the container counts as started.

    Of two starts both may try; only one has passed the gate, and it must not fail for the other.
    """
    try:
        os.unlink(f"{directory}/{NAME}")
    except FileNotFoundError:
        return


class _ShortPath:
    """A path to the gate that fits sockaddr_un's 108 bytes, however long `directory` is."""

    __slots__ = ("directory", "fd")

    def __init__(self, directory: str) -> None:
        self.directory = directory

    def __enter__(self) -> str:
        self.fd = os.open(self.directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        return f"/proc/self/fd/{self.fd}/{NAME}"

    def __exit__(self, *_: object) -> None:
        os.close(self.fd)
