"""One process in the guest, and its stdio here: the monitor's side.

A stream has a window (frames.WINDOW): so a reader that does not read blocks only its own stream,
and what is buffered here is bounded.
"""

from __future__ import annotations

import os
import select
import termios
from fcntl import ioctl
from struct import unpack

from ocirun.engines.vm import frames
from ocirun.engines.vm.frames import BadFrame

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Final

    Send = Callable[[bytes], None]

INPUT_BYTES: Final = 32 << 10
# Kernel: a pipe that poll(2) reports as writable takes this much without waiting (pipe(7)).
OUTPUT_BYTES: Final = 4096
TIOCGWINSZ: Final = 0x5413
SIGHUP: Final = 1


class Session:
    """One process; owns `fds`: its stdin, stdout and stderr, or one terminal's slave.

    `send` brings a frame to the guest. `status` is its exit status once it has one.
    """

    __slots__ = (
        "_input",
        "_input_window",
        "_outputs",
        "_pending",
        "_send",
        "_unanswered",
        "failure",
        "is_started",
        "number",
        "status",
        "terminal",
    )

    def __init__(self, number: int, fds: list[int], send: Send) -> None:
        self.number = number
        self.terminal = len(fds) == 1
        self._input = fds[0]
        self._outputs = {1: fds[0]} if self.terminal else {1: fds[1], 2: fds[2]}
        self._pending = {1: bytearray(), 2: bytearray()}
        self._unanswered = {1: 0, 2: 0}
        self._input_window = frames.WINDOW
        self._send = send
        self.is_started = False
        self.failure: str | None = None
        self.status: int | None = None

    def is_over(self) -> bool:
        """Return whether it has ended, and its output is written."""
        ended = self.status is not None or self.failure is not None
        return ended and not any(self._pending.values())

    def wanted(self) -> Iterator[tuple[int, int]]:
        """Yield what to poll for: descriptors with the events."""
        if self.is_started and self._input >= 0 and self._input_window and self.status is None:
            yield self._input, select.POLLIN
        for stream, fd in self._outputs.items():
            if self._pending[stream]:
                yield fd, select.POLLOUT

    def serving(self, fd: int) -> Callable[[int], None]:
        """Return what does what poll(2) has found possible on `fd`."""
        return lambda events: self.ready(fd, events)

    def ready(self, fd: int, events: int) -> None:
        """Do what poll(2) has found possible."""
        if events & ~select.POLLOUT and fd == self._input and self.is_started:
            self._read_input()
        for stream, output in [*self._outputs.items()]:  # one that nobody reads is removed
            if fd == output and events & ~select.POLLIN and self._pending[stream]:
                self._write_output(stream)

    def take(self, kind: bytes, payload: bytes) -> None:
        """Take a frame of the guest about the process.

        Raises:
            BadFrame: it may not come now.
        """
        if kind in (frames.STDOUT, frames.STDERR):
            self._take_output(1 if kind == frames.STDOUT else 2, payload)
        elif kind == frames.INPUT_ACK:
            self._input_window += frames.number(payload)
            if self._input_window > frames.WINDOW:
                raise BadFrame("the guest answers input that it did not get")
        elif kind == frames.STARTED and not self.is_started:
            self.is_started = True
        elif kind == frames.FAILED and self.failure is None:
            self.failure = payload.decode(errors="replace")
        elif kind == frames.EXIT and self.status is None:
            self.status = min(frames.number(payload), 255)
        else:
            raise BadFrame(f"a frame {kind!r} may not come now")

    def signal(self, number: int) -> None:
        """Send a signal to the process."""
        self._send(frames.frame(frames.SIGNAL, self.number, frames.u32(number)))

    def size(self, rows: int, columns: int) -> None:
        """Set the size of its terminal."""
        payload = frames.u32(rows) + frames.u32(columns)
        self._send(frames.frame(frames.SIZE, self.number, payload))

    def copy_size(self) -> None:
        """Set the size of its terminal to that of ours."""
        if self.terminal and self._input >= 0:
            rows, columns, _, _ = unpack("HHHH", ioctl(self._input, TIOCGWINSZ, b"\0" * 8))
            self.size(rows, columns)

    def close(self) -> None:
        """Close its descriptors; a terminal first gets what it was sent."""
        if self.terminal and self._input >= 0:
            drain(self._input)
        for fd in {self._input, *self._outputs.values()}:
            if fd >= 0:
                os.close(fd)
        self._input = -1
        self._outputs = {}

    def _take_output(self, stream: int, data: bytes) -> None:
        self._unanswered[stream] += len(data)
        if self._unanswered[stream] > frames.WINDOW:
            raise BadFrame("the guest sends more output than it may")
        if stream in self._outputs:
            self._pending[stream] += data
        else:
            self._answer(stream, len(data))

    def _answer(self, stream: int, count: int) -> None:
        self._unanswered[stream] -= count
        payload = frames.u32(stream) + frames.u32(count)
        self._send(frames.frame(frames.ACK, self.number, payload))

    def _read_input(self) -> None:
        try:
            data = os.read(self._input, min(INPUT_BYTES, self._input_window))
        except BlockingIOError:
            return
        except OSError:  # EIO: the terminal's master is closed
            data = b""
        if data:
            self._input_window -= len(data)
        elif self.terminal:
            self.signal(SIGHUP)
            self._input_window = 0
            self._pending[1].clear()
        self._send(frames.frame(frames.INPUT, self.number, data))
        if not data and not self.terminal:
            os.close(self._input)
            self._input = -1

    def _write_output(self, stream: int) -> None:
        pending = self._pending[stream]
        try:
            count = os.write(self._outputs[stream], pending[:OUTPUT_BYTES])
        except BlockingIOError:
            return
        except OSError:  # nobody reads there any more: it is swallowed
            count = len(pending)
            fd = self._outputs.pop(stream)
            if not self.terminal:
                os.close(fd)
        del pending[:count]
        if self.status is None:
            self._answer(stream, count)


def drain(terminal: int) -> None:
    """Wait until a terminal's master has what was written to `terminal`, unless it is gone."""
    try:
        termios.tcdrain(terminal)
    except termios.error:
        return
