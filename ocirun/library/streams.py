"""stdin, stdout and stderr of a container: pipes, or the caller's files.

Source: https://docs.python.org/3.11/library/subprocess.html.
"""

from __future__ import annotations

import io
import os
import select
import time

from ocirun.errors import TimeoutExpired, doing
from ocirun.process.given_stdio import GivenStdio

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import IO, Any, Final, Protocol

    class HasFileno(Protocol):
        """A file, a socket."""

        def fileno(self) -> int:
            """Return its descriptor."""

    Stream = int | HasFileno | None

# The same values as in subprocess, so its constants work too.
PIPE: Final = -1
STDOUT: Final = -2
DEVNULL: Final = -3
NAMES: Final = ("stdin", "stdout", "stderr")
READ_BYTES: Final = 1 << 16
LONGEST_POLL_MS: Final = 1_000_000_000.0  # poll takes an int, which infinity is not


class Streams:
    """Our ends of the streams of one process.

    `stdin`, `stdout` and `stderr` are files, or None without a pipe. `terminal` is the master of
    its terminal, unbuffered; `elsewhere`: it goes to a console socket. The files belong to the
    caller; `close` closes them. `given` are the container's descriptors, until `connected` closes
    them.
    """

    def __init__(
        self,
        wanted: tuple[Stream, Stream, Stream],
        *,
        terminal: bool = False,
        elsewhere: bool = False,
        encoding: str | None = None,
        errors: str | None = None,
    ) -> None:
        self.files: list[IO[Any] | None] = [None, None, None]
        self.terminal: io.FileIO | None = None
        self.encoding = encoding
        self.errors = errors
        self.given: GivenStdio | None = None
        self._unsent: memoryview | None = None
        self._received: dict[int, list[bytes]] = {1: [], 2: []}
        if terminal:
            for name, stream in zip(NAMES, wanted, strict=True):
                if stream is not None:
                    raise ValueError(f"{name} and terminal=True exclude each other")
            self.given = GivenStdio([], [], [], terminal=True)
        elif not elsewhere or wanted != (None, None, None):
            self._open(wanted)

    def _open(self, wanted: tuple[Stream, Stream, Stream]) -> None:
        numbers = [_number(name, stream) for name, stream in zip(NAMES, wanted, strict=True)]
        fds: list[int] = []
        owned: list[int] = []
        pipes: list[int] = []
        try:
            for place, number in enumerate(numbers):
                if number == STDOUT:
                    fds.append(fds[1])
                elif number == PIPE:
                    owned.append(self._open_pipe(place))
                    pipes.append(owned[-1])
                    fds.append(owned[-1])
                elif number == DEVNULL or not _is_open(number):
                    owned.append(os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC))
                    fds.append(owned[-1])
                else:
                    fds.append(number)
            self.given = GivenStdio(fds, owned, pipes)
        except BaseException:
            for fd in owned:
                os.close(fd)
            self.close()
            raise

    def _open_pipe(self, place: int) -> int:
        """Create a pipe for fd `place`; keep our end as a file and return the other."""
        with doing(f"making a pipe for {NAMES[place]}"):
            reading, writing = os.pipe()
        ours, theirs = (writing, reading) if place == 0 else (reading, writing)
        file: Any = open(ours, "wb" if place == 0 else "rb")  # noqa: SIM115  # `close` does
        if self.encoding is not None:
            file = io.TextIOWrapper(
                file, self.encoding, self.errors, write_through=place == 0, newline=None
            )
        self.files[place] = file
        return theirs

    def connected(self) -> None:
        """Close our copies of the container's ends."""
        if self.given:
            self.given.connect()
            if self.given.master >= 0:
                self.terminal = io.FileIO(self.given.master, "r+")
                self.given.master = -1
            self.given = None

    def close(self) -> None:
        """Close everything. May be called twice."""
        if self.given:
            self.given.close()
            self.given = None
        for file in (*self.files, self.terminal):
            _close_quietly(file)

    def exchange(self, data: str | bytes | None, deadline: float | None) -> bool:
        """Write `data` to stdin and close it; read stdout and stderr to end of file.

        Returns:
            False if `deadline` (of time.monotonic()) passed first. Output read so far is kept, and
            the next call continues where this one stopped; it ignores its `data`.
        """
        poll = select.poll()
        stdin = self._begin_input(data)
        if stdin is not None:
            poll.register(stdin, select.POLLOUT)
        waiting = {}
        for place in (1, 2):
            file = self.files[place]
            if file is not None and not file.closed:
                waiting[file.fileno()] = place
                poll.register(file, select.POLLIN)
        while waiting or stdin is not None:
            left = None if deadline is None else (deadline - time.monotonic()) * 1000
            if left is not None:
                left = min(left, LONGEST_POLL_MS)
            ready = poll.poll(left if left is None else max(0, int(left) + (left > 0)))
            if not ready and left is not None and left <= 0:
                return False
            for fd, _ in ready:
                if fd in waiting:
                    if piece := os.read(fd, READ_BYTES):
                        self._received[waiting[fd]].append(piece)
                        continue
                    _close_quietly(self.files[waiting.pop(fd)])
                elif self._send(fd):
                    continue
                else:
                    _close_quietly(stdin)
                    stdin = None
                poll.unregister(fd)
        return True

    def _begin_input(self, data: str | bytes | None) -> IO[Any] | None:
        """Return stdin if there is data to write to it; close it otherwise."""
        stdin = self.files[0]
        if stdin is None:
            if data is not None:
                raise ValueError("input needs stdin=PIPE")
            return None
        if stdin.closed:
            return None
        if self._unsent is None:
            self._unsent = memoryview(self._encoded(data))
            try:
                stdin.flush()
            except BrokenPipeError:  # no reader; the next write fails the same way
                self._unsent = memoryview(b"")
        if self._unsent:
            return stdin
        _close_quietly(stdin)
        return None

    def _send(self, fd: int) -> bool:
        """Write the next chunk; return whether data is left and the pipe still has a reader."""
        data = self._unsent or memoryview(b"")
        try:
            # Kernel: a writable pipe takes PIPE_BUF bytes without blocking.
            self._unsent = data[os.write(fd, data[: select.PIPE_BUF]) :]
        except BrokenPipeError:
            return False
        return bool(self._unsent)

    def _encoded(self, data: str | bytes | None) -> bytes:
        if data is None:
            return b""
        if isinstance(data, str):
            if self.encoding is None:
                raise TypeError("input must be bytes, not str, unless text or encoding is given")
            return data.replace("\n", os.linesep).encode(self.encoding, self.errors or "strict")
        if self.encoding is not None:
            raise TypeError("input must be a str, not bytes, with text or encoding")
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise TypeError(f"input must be bytes, not {type(data).__name__}")
        return bytes(data)

    def outputs(self) -> list[Any]:
        """Return the contents read from stdout and stderr, each None without a pipe."""
        found: list[Any] = []
        for place in (1, 2):
            data = b"".join(self._received[place])
            if self.files[place] is None:
                found.append(None)
            else:
                found.append(data if self.encoding is None else self._decoded(data))
        return found

    def _decoded(self, data: bytes) -> str:
        text = data.decode(self.encoding or "utf-8", self.errors or "strict")
        return text.replace("\r\n", "\n").replace("\r", "\n")


def _close_quietly(file: IO[Any] | None) -> None:
    try:
        if file is not None:
            file.close()
    except BrokenPipeError:  # the buffered data has no reader
        return


def _number(name: str, stream: Stream) -> int:
    """Return the descriptor of `stream`, or one of PIPE, STDOUT and DEVNULL."""
    place = NAMES.index(name)
    if stream is None:
        return place
    if isinstance(stream, int) and not isinstance(stream, bool):
        number = stream
    elif hasattr(stream, "fileno"):
        number = stream.fileno()
    else:
        raise TypeError(
            f"{name} must be PIPE, DEVNULL, a descriptor or a file, not {type(stream).__name__}"
        )
    if number == STDOUT and place != 2:
        raise ValueError(f"{name} cannot be STDOUT: only stderr can")
    if number < DEVNULL:
        raise ValueError(f"{name} must not be {number}")
    if number >= 0 and not _is_open(number):
        raise ValueError(f"{name} is descriptor {number}, which is not open")
    return number


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def expired(args: object, timeout: float, streams: Streams | None) -> TimeoutExpired:
    """Return a TimeoutExpired for a process that still runs, with its output so far."""
    output, stderr = streams.outputs() if streams else (None, None)
    return TimeoutExpired(args, timeout, output or None, stderr or None)
