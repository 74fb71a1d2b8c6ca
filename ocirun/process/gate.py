"""A created container waits here; `start` opens the gate.

Two FIFOs in the container's state directory. The first one's presence there is what makes a
container `created` rather than `running`. Init inherits both open, so that it opens no path after
the pivot, and needs no more than read, write and close, which any seccomp profile allows. The
second stays open in init until execve closes it: `start` therefore learns whether startContainer
hooks succeeded, and returns when the program runs. Exactly one `start` wins: the one that gets
the lock and finds the gate still closed.

    start                                init
      │ locks the gate, writes 'g' ─────► │ closes the gate
      │ ◄──────────────────────────── 'g' │
      │   (the files are removed)         │ startContainer hooks, execve
      │ ◄─────────────── end-of-file      │ the program runs
      │ ◄─────────────── an error, EOF    │ or a hook failed

Source: runtime-spec runtime.md#lifecycle steps 7 to 9; fifo(7), fcntl_locking(2).
"""

from __future__ import annotations

import os
from errno import ENXIO

from ocirun.errors import doing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

NAME: Final = "start.fifo"
ANSWER_NAME: Final = "started.fifo"
GO: Final = b"g"
MAX_ERROR_BYTES: Final = 64 << 10


def make_gate(dir_fd: int) -> tuple[int, int]:
    """Make the gate in the container's folder, which is open as `dir_fd` (borrowed).

    Returns:
        The gate and the answer, close-on-exec; the caller gives them to init and closes them.
        Both are open for reading and writing: so neither side is ever without the other, and a
        `start` that dies costs init nothing.
    """
    with doing("making the start gate"):
        answer_fd = _make_fifo(dir_fd, ANSWER_NAME)
        try:
            return _make_fifo(dir_fd, NAME), answer_fd
        except OSError:
            os.close(answer_fd)
            raise


def _make_fifo(dir_fd: int, name: str) -> int:
    os.mkfifo(name, 0o600, dir_fd=dir_fd)
    return _open(dir_fd, name, os.O_RDWR)


def _open(dir_fd: int, name: str, flags: int) -> int:
    return os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=dir_fd)


def is_closed(dir_fd: int) -> bool:
    """Return whether the container has not been started yet.

    Its files may outlive the gate, where a `start` was killed before it took them away; then
    the answer is no longer open anywhere, because init has become its program.
    """
    try:
        os.lstat(NAME, dir_fd=dir_fd)
        # Kernel: opening a FIFO for writing needs a reader (ENXIO); init is one while it waits.
        os.close(_open(dir_fd, ANSWER_NAME, os.O_WRONLY | os.O_NONBLOCK))
    except FileNotFoundError:
        return False
    except OSError as error:
        if error.errno != ENXIO:
            raise
        return False
    return True


def wait_at_gate(gate_fd: int, answer_fd: int) -> None:
    """In init: wait for `start`. `gate_fd` is closed then; errors may be written to `answer_fd`."""
    try:
        os.read(gate_fd, len(GO))
    except OSError:  # a seccomp filter refuses read, which runc's init does not need there
        from select import POLLIN, poll  # loaded with the filter

        gate = poll()
        gate.register(gate_fd, POLLIN)
        gate.poll()
    os.close(gate_fd)
    os.write(answer_fd, GO)


def open_gate(dir_fd: int) -> str | None:
    """Open the gate for init, and wait until it runs the program.

    Returns:
        None when it does; else the message that says what failed.

    Raises:
        FileNotFoundError, ConnectionError: the gate is not there, or no init waits at it (any
            more): somebody else has started the container, or init died.
    """
    # For writing too: a write to a FIFO that init has let go of would kill us.
    gate_fd = _open(dir_fd, NAME, os.O_RDWR)
    try:
        _win(gate_fd, dir_fd)
        answer_fd = _open(dir_fd, ANSWER_NAME, os.O_RDONLY | os.O_NONBLOCK)
        try:
            _check_waiting(answer_fd)
            os.write(gate_fd, GO)
            return _answer(answer_fd, dir_fd)
        finally:
            os.close(answer_fd)
    finally:
        os.close(gate_fd)


def _win(gate_fd: int, dir_fd: int) -> None:
    """Claim the right to start; raise ConnectionRefusedError where another `start` has it."""
    from ocirun.kernel.locks import try_lock

    try:
        try_lock(gate_fd)
    except BlockingIOError as error:
        raise ConnectionRefusedError("another start is at the gate") from error
    if not is_closed(dir_fd):
        raise ConnectionRefusedError("another start has opened the gate")


def _check_waiting(answer_fd: int) -> None:
    """Raise ConnectionRefusedError unless init waits: it holds the answer and has said nothing."""
    try:
        said = os.read(answer_fd, len(GO))
    except BlockingIOError:
        return
    # End-of-file: nobody holds it. Data: another `start` was faster, and died before it read it.
    raise ConnectionRefusedError("init is not at the gate" if not said else "init has gone on")


def _answer(answer_fd: int, dir_fd: int) -> str | None:
    os.set_blocking(answer_fd, True)
    if os.read(answer_fd, len(GO)) != GO:
        raise ConnectionResetError("init went away from the start gate")
    remove_gate(dir_fd)
    error = bytearray()
    while len(error) < MAX_ERROR_BYTES and (piece := os.read(answer_fd, 4096)):
        error += piece
    return os.fsdecode(bytes(error)) if error else None


def remove_gate(dir_fd: int) -> None:
    """Take the files away: the container counts as started.

    Of two starts both may try; only one has passed the gate, and it must not fail for the other.
    """
    for name in (NAME, ANSWER_NAME):
        try:
            os.unlink(name, dir_fd=dir_fd)
        except FileNotFoundError:
            continue
