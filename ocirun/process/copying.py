"""Copy a container's stdio from and to the caller's, each direction in its own thread.

Input that nobody reads must not hold up output.

Source: pipe(7), termios(3), ioctl_tty(2); docs/runc-compat/protocols.md#foreground-mode.
"""

from __future__ import annotations

import _thread
import os
import select
import sys
import time
from fcntl import ioctl

from ocirun.errors import SetupError, warn, what_failed
from ocirun.kernel.process import start_thread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any, Final

FIONREAD: Final = 0x541B
COPY_BYTES: Final = 64 << 10
# How long a process that was left behind may still write before we end.
LINGER_S: Final = 0.5
# More than the kernel buffers of a terminal hold.
TERMINAL_BYTES: Final = 1 << 20
LONGEST_WAIT_MS: Final = 3000


class Copying:
    """The copying of one container's stdio.

    `terminal` is the master of its terminal (borrowed), -1 for none. Of pipes the container's ends
    are closed when they are copied.
    """

    __slots__ = ("_end", "_failure", "_terminal", "_unfinished")

    def __init__(self, terminal: int) -> None:
        self._terminal = terminal
        self._end = os.pipe()  # closed at the writing end, it says that init has ended
        self._unfinished: list[Any] = []  # a lock for each copying of output, held by it
        self._failure: OSError | None = None  # beside the end of what is copied

    def start(self, routes: Sequence[tuple[int, int]]) -> None:
        """Start to copy, from the first to the second descriptor of each of `routes`.

        Raises:
            SetupError: a thread cannot be started.
        """
        for source, target in routes:
            done = _thread.allocate_lock()
            done.acquire()
            if source != 0:
                self._unfinished.append(done)
            try:
                start_thread(self._copy, (source, target, done))
            except RuntimeError as error:
                raise SetupError(f"copying stdio: {error}") from error

    def finish(self) -> None:
        """Wait for the last output of a container whose init has ended."""
        os.close(self._end[1])
        for done in self._unfinished:
            done.acquire()
        if self._failure:
            warn(f"copying stdio: {what_failed(self._failure)}")

    def _copy(self, source: int, target: int, done: Any) -> None:  # noqa: ANN401  # a lock
        """Copy one way until its end, and hand the end on.

        The container's side is closed with ours, whichever goes first; not so its terminal: what
        that still writes when nobody reads is dropped.
        """
        last = b"\n"
        try:
            for data in self._output(source) if source != 0 else _input():
                if not _write_all(target, data) and source != self._terminal:
                    break
                last = data[-1:]
            if source == 0 and target == self._terminal and not os.isatty(0):
                self._type_end(last)
        except OSError as error:  # a filter around us refuses a call
            self._failure = error
        finally:
            for fd in (source, target):
                if fd not in (0, 1, 2, self._terminal):
                    os.close(fd)
            done.release()

    def _type_end(self, last: bytes) -> None:
        """Send the container's terminal the end-of-file key, again and again until init ends.

        A terminal has no end of file, only a key that ends one read(2): the next read would block.
        `last` is the last byte typed; within a line the first such key ends the line.
        """
        import termios

        key: bytes = termios.tcgetattr(self._terminal)[6][termios.VEOF]
        keys = key if last == b"\n" else key * 2
        poll = select.poll()
        poll.register(self._end[0], select.POLLIN)
        wait_ms = 100
        while _write_all(self._terminal, keys) and not poll.poll(wait_ms):
            keys = key
            wait_ms = min(wait_ms * 2, LONGEST_WAIT_MS)

    def _output(self, source: int) -> Iterator[bytes]:
        """Yield what comes from the container, until its end or, soon after init's, ours.

        What init itself has written is all in the pipe or terminal by its end. A process that it
        left behind may hold that open for good: of a pipe, what it writes in the next moment still
        arrives; of a terminal, what is there.

        Kernel: to poll a terminal is to flush what was written to its other side.
        """
        end = self._end[0]
        poll = select.poll()
        poll.register(source, select.POLLIN)
        poll.register(end, select.POLLIN)
        while end not in {fd for fd, _ in poll.poll()}:
            if not (data := _read(source)):
                return
            yield data
        poll.unregister(end)
        if source == self._terminal:
            owed, deadline = TERMINAL_BYTES, 0.0
        else:
            owed = int.from_bytes(ioctl(source, FIONREAD, b"\0" * 4), sys.byteorder)
            deadline = time.monotonic() + LINGER_S
        while owed > 0 or time.monotonic() < deadline:
            left_ms = max(0, (deadline - time.monotonic()) * 1000)
            if not poll.poll(left_ms) or not (data := _read(source)):
                return
            owed -= len(data)
            yield data


def _input() -> Iterator[bytes]:
    while data := _read(0):
        yield data


def _read(fd: int) -> bytes:
    while True:
        try:
            return os.read(fd, COPY_BYTES)
        except BlockingIOError:
            _wait_until(fd, select.POLLIN)
        except OSError:  # EIO: the last slave was closed, all output has been read
            return b""


def _write_all(fd: int, data: bytes) -> bool:
    """Write all of `data`; False if the reader has gone."""
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(fd, view) :]
        except BlockingIOError:  # the caller's files may be set so, and are not ours to change
            _wait_until(fd, select.POLLOUT)
        except OSError:
            return False
    return True


def _wait_until(fd: int, event: int) -> None:
    poll = select.poll()
    poll.register(fd, event)
    poll.poll()
