"""What connects a container in the foreground with the caller's terminal and files.

    process.terminal       a pseudo-terminal, made inside; ours goes raw and is copied both ways
    a new user namespace   three pipes that belong to its root, which could not reopen our own
                           files as /dev/stdout; copied too
    neither                the container has our own fds 0 to 2: nothing to do

Each way is copied by a thread of its own, started after the last clone: input that nobody reads
must not hold up output.

Source: pty(7), termios(3); docs/runc-compat/protocols.md#foreground-mode.
"""

from __future__ import annotations

import _socket
import _thread
import os
import select
from fcntl import ioctl

from ocirun.errors import doing
from ocirun.process.sockets import receive_fd

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, Final

    from ocirun.process.request import Request
    from ocirun.spec.types import Config

TIOCGWINSZ: Final = 0x5413
TIOCSWINSZ: Final = 0x5414
WINSIZE_BYTES: Final = 8
COPY_BYTES: Final = 64 << 10


class Foreground:
    """The connection of one container; owns its descriptors.

    `init_fds` are what init is given: a socket to send the terminal's master to, or its fds 0 to
    2, or nothing. They are closed by `connect`.
    """

    __slots__ = ("_end", "_master", "_receiver", "_routes", "_saved", "_unfinished", "init_fds")

    def __init__(self) -> None:
        self.init_fds: list[int] = []
        self._receiver = -1
        self._master = -1
        self._routes: dict[int, int] = {}  # read from → write to
        self._saved: list[Any] = []
        self._unfinished: list[Any] = []  # a lock for each copying of output, held by it
        self._end = (-1, -1)  # a pipe; closed at the writing end, it says that init has ended

    def prepare(self, config: Config, request: Request) -> None:
        """Make what the container needs, before it is there."""
        if request.terminal:
            ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_STREAM)
            self._receiver = ours.detach()
            self.init_fds = [theirs.detach()]
        elif "user" in request.namespaces.new:
            uid = _host_id(config["linux"]["uidMappings"])
            gid = _host_id(config["linux"]["gidMappings"])
            self._make_pipes(uid, gid)

    def _make_pipes(self, uid: int, gid: int) -> None:
        stdin, to_stdin = os.pipe()
        from_stdout, stdout = os.pipe()
        from_stderr, stderr = os.pipe()
        self.init_fds = [stdin, stdout, stderr]
        self._routes = {0: to_stdin, from_stdout: 1, from_stderr: 2}
        if os.geteuid() == 0:
            with doing(f"giving the container's stdio to {uid}:{gid}, root in its user namespace"):
                for fd in self.init_fds:
                    os.fchown(fd, uid, gid)

    def connect(self) -> None:
        """Begin copying, now that init has its ends."""
        for fd in self.init_fds:
            os.close(fd)
        self.init_fds = []
        if self._receiver >= 0:
            self._master = receive_fd(self._receiver)
            os.close(self._receiver)
            self._routes = {0: self._master, self._master: 1}
            self._end = os.pipe()
            self._go_raw()
        for source, target in self._routes.items():
            done = _thread.allocate_lock()
            done.acquire()
            if source != 0:
                self._unfinished.append(done)
            _thread.start_new_thread(self._copy, (source, target, done))

    def _go_raw(self) -> None:
        """Leave all interpretation of keys to the container's terminal."""
        if os.isatty(0):
            import termios  # cold: a person sits there
            import tty

            self._saved = termios.tcgetattr(0)
            tty.setraw(0, termios.TCSANOW)
            self.copy_size()

    def copy_size(self) -> bool:
        """Give the container's terminal the size of ours; False when there are not both."""
        if self._master < 0 or not os.isatty(0):
            return False
        ioctl(self._master, TIOCSWINSZ, ioctl(0, TIOCGWINSZ, b"\0" * WINSIZE_BYTES))
        return True

    def finish(self) -> None:
        """Wait for the last output, then set our terminal back as it was.

        Of a terminal that is what is in it by now: a job left behind may keep it open for good.
        """
        if self._master >= 0:
            os.close(self._end[1])
        for done in self._unfinished:
            done.acquire()
        self.restore()

    def restore(self) -> None:
        """Set our terminal back as it was."""
        if self._saved:
            import termios

            termios.tcsetattr(0, termios.TCSADRAIN, self._saved)
            self._saved = []

    def _copy(self, source: int, target: int, done: Any) -> None:  # noqa: ANN401  # a lock
        """Copy one way until its end, and hand the end on.

        The container's side is closed with ours, whichever goes first; not so its terminal: that
        is told of the end of input by a character, which has gone through already, and what it
        still says when nobody listens is dropped.
        """
        for data in _all_of(source, self._end[0] if source == self._master else -1):
            if not _write_all(target, data) and source != self._master:
                break
        for fd in (source, target):
            if fd not in (0, 1, 2, self._master):
                os.close(fd)
        done.release()


def _all_of(source: int, end: int) -> Iterator[bytes]:
    """Give what can be read from `source` until its end.

    Once the other side of `end` (-1: none) is closed, what can be read at once is all there is.

    Kernel: to poll a terminal is to flush what was written to its other side.
    """
    if end < 0:
        while data := _read(source):
            yield data
        return
    poll = select.poll()
    poll.register(source, select.POLLIN)
    poll.register(end, select.POLLIN)
    ended = False
    while True:
        ready = {fd for fd, _ in poll.poll(0 if ended else None)}
        if end in ready:
            ended = True
            poll.unregister(end)
        if source in ready:
            data = _read(source)
            if not data:
                return
            yield data
        elif ended and end not in ready:
            return


def _read(fd: int) -> bytes:
    while True:
        try:
            return os.read(fd, COPY_BYTES)
        except BlockingIOError:
            _wait_until(fd, select.POLLIN)
        except OSError:  # EIO: the last slave was closed, all output has been read
            return b""


def _write_all(fd: int, data: bytes) -> bool:
    """Write all of `data`; False when nobody reads there any more."""
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


def _host_id(mappings: list[Any]) -> int:
    """Find the host's id of the container's root; our own where nobody is."""
    for mapping in mappings:
        if mapping["containerID"] == 0:
            return int(mapping["hostID"])
    return os.geteuid()
