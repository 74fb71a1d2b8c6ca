"""The foreground: signals in, exit status out, the terminal copied in between.

Signals are blocked and taken one by one with sigwaitinfo, so that none is lost and nothing runs
in a handler. A terminal is copied by a thread of its own, started after the last clone.

Source: sigwaitinfo(2), wait(2), termios(3); contract: foreground mode.
"""

from __future__ import annotations

import _signal
import _thread
import os
import select
from fcntl import ioctl

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

TIOCGWINSZ: Final = 0x5413
TIOCSWINSZ: Final = 0x5414
WINSIZE_BYTES: Final = 8
COPY_BYTES: Final = 64 << 10
# What the kernel sends for an error of our own is not for the container.
OURS: Final = frozenset({_signal.SIGKILL, _signal.SIGSTOP, _signal.SIGSEGV, _signal.SIGBUS,
                         _signal.SIGFPE, _signal.SIGILL, _signal.SIGTRAP, _signal.SIGSYS,
                         _signal.SIGABRT})  # fmt: skip


def block_signals() -> None:
    """Hold back every signal until `wait_for` takes it.

    Order: before init is cloned. A signal that comes during setup is then forwarded, not lost; a
    child gets its own mask back before execve (reset_signals, posix_spawn's setsigmask).
    """
    _signal.pthread_sigmask(_signal.SIG_BLOCK, _forwarded())


def _forwarded() -> set[Any]:
    forwarded: set[Any] = _signal.valid_signals() - OURS
    return forwarded


def wait_for(pid: int, pidfd: int, terminal: Terminal | None) -> int:
    """Wait until `pid`, a child of ours, ends; meanwhile forward signals and reap orphans.

    Returns:
        Its exit status, or 128 plus the signal that killed it.
    """
    signals = _forwarded()
    while True:
        # Order: reaped before waiting: a SIGCHLD may be pending from before, or be merged.
        status = _reap(pid)
        if status is not None:
            return status
        number = _signal.sigwaitinfo(signals).si_signo
        if number == _signal.SIGWINCH and terminal:
            terminal.copy_size()
        elif number != _signal.SIGCHLD:
            try:
                _signal.pidfd_send_signal(pidfd, number)
            except ProcessLookupError:  # it has just ended; SIGCHLD is on its way
                continue


def _reap(pid: int) -> int | None:
    """Reap every child that has ended; give the exit status of `pid` if it is among them."""
    result = None
    while True:
        try:
            ended, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return result
        if not ended:
            return result
        if ended == pid:
            code = os.waitstatus_to_exitcode(status)
            result = code if code >= 0 else 128 - code


class Terminal:
    """The foreground's own terminal, raw while the container has it; owns `master`."""

    __slots__ = ("_done", "_is_tty", "_master", "_saved")

    def __init__(self, master: int) -> None:
        self._master = master
        self._is_tty = os.isatty(0)
        self._saved: list[Any] = []
        self._done = _thread.allocate_lock()

    def start(self) -> None:
        """Go raw, take over the size, and copy in both directions until the container is gone."""
        if self._is_tty:
            import termios
            import tty

            self._saved = termios.tcgetattr(0)
            tty.setraw(0, termios.TCSANOW)
            self.copy_size()
        self._done.acquire()
        _thread.start_new_thread(self._copy, ())

    def copy_size(self) -> None:
        """Give the container's terminal the size of ours."""
        if self._is_tty:
            ioctl(self._master, TIOCSWINSZ, ioctl(0, TIOCGWINSZ, b"\0" * WINSIZE_BYTES))

    def finish(self) -> None:
        """Wait for the last output, and set our terminal back as it was."""
        self._done.acquire()
        self.restore()
        os.close(self._master)

    def restore(self) -> None:
        """Set our terminal back as it was."""
        if self._saved:
            import termios

            termios.tcsetattr(0, termios.TCSADRAIN, self._saved)
            self._saved = []

    def _copy(self) -> None:
        try:
            self._copy_both_ways()
        finally:
            self._done.release()

    def _copy_both_ways(self) -> None:
        poll = select.poll()
        poll.register(self._master, select.POLLIN)
        poll.register(0, select.POLLIN)
        while True:
            for fd, _ in poll.poll():
                if fd == 0:
                    data = os.read(0, COPY_BYTES)
                    if not data:
                        poll.unregister(0)
                    _write_all(self._master, data)
                else:
                    try:
                        data = os.read(self._master, COPY_BYTES)
                    except OSError:  # EIO: the last slave was closed, all output is read
                        return
                    _write_all(1, data)


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
