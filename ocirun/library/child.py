"""The exit status of a process, read once and shared by all waiters.

    our child                 waitid(P_PIDFD) reaps it; a bare pid is never waited for
    reaped by somebody else   the kernel keeps the status for holders of a pidfd (Linux 6.15)
    another's zombie          /proc/PID/stat has the status, if we may read it
    otherwise                 unknown; ExitStatusUnknown gives the reason

Waiters poll the pidfd, which any number of threads can do. They share one Child, which holds the
result.

Source: waitid(2), pidfd_open(2), proc_pid_stat(5).
"""

from __future__ import annotations

import _signal
import _thread
import os
import select
import time
from fcntl import F_DUPFD_CLOEXEC, fcntl

from ocirun.errors import doing
from ocirun.kernel.exit_status import status_of_reaped, status_of_zombie

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

LONGEST_POLL_S: Final = 1_000_000.0  # poll takes an int of milliseconds
NOT_OURS: Final = "it is not a child of this process"


class Child:
    """One process: `pid`, and `returncode` as in subprocess: -N for signal N, None until known.

    It owns `pidfd` until the process has ended or `close` is called. `start` (clock ticks since
    boot, 0 if not read) and the pid identify the process; `ours`: it is a child of this process.
    `lost` is the reason why the exit status cannot be known, "" while it can.
    """

    __slots__ = ("_lock", "_maker", "_start", "lost", "pid", "pidfd", "returncode")

    def __init__(self, pid: int, pidfd: int, *, start: int = 0, ours: bool = True) -> None:
        self.pid = pid
        self.pidfd = pidfd
        self.returncode: int | None = None
        self.lost = ""
        self._start = start
        self._maker = os.getpid() if ours else 0
        self._lock = _thread.allocate_lock()

    @property
    def has_ended(self) -> bool:
        """Whether the process is known to have ended, with or without its status."""
        return self.returncode is not None or bool(self.lost)

    def poll(self) -> int | None:
        """Reap the process if it has ended; return its exit status, None if running or unknown."""
        if self.has_ended:
            return self.returncode
        if self._maker not in (0, os.getpid()):
            # We are a fork of the creator: the copied lock may be held by a thread that is not
            # here.
            self._maker, self._lock = 0, _thread.allocate_lock()
        with self._lock:
            # Order: recheck under the lock; another thread may have reaped it and closed the pidfd.
            if self.pidfd >= 0:
                self._look()
        return self.returncode

    def _look(self) -> None:
        reason = NOT_OURS
        if self._maker:
            try:
                found = os.waitid(os.P_PIDFD, self.pidfd, os.WEXITED | os.WNOHANG)
            except ChildProcessError:
                reason = _reason()
            else:
                if found is not None:
                    exited = found.si_code == os.CLD_EXITED
                    self._settle(found.si_status if exited else -found.si_status)
                return
        if _is_readable(self.pidfd, 0):
            # Order: if the zombie is reaped in between, the kernel keeps the status for the pidfd.
            status = status_of_zombie(self.pid, self._start) if self._start else None
            if status is None:
                status = status_of_reaped(self.pidfd)
            if status is None:
                self.lost = reason
                self._let_go()
            else:
                self._settle(os.waitstatus_to_exitcode(status))

    def _settle(self, returncode: int) -> None:
        self.returncode = returncode
        self._let_go()

    def wait(self, timeout: float | None) -> bool:
        """Wait at most `timeout` seconds (None: forever); return whether the process has ended."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            self.poll()
            if self.has_ended:
                return True
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                return False
            pidfd = self.borrow()
            if pidfd >= 0:
                try:
                    _is_readable(pidfd, left)
                finally:
                    os.close(pidfd)

    def borrow(self) -> int:
        """Return a duplicate of the pidfd, which the caller closes; -1 if ours is closed."""
        with self._lock:
            return fcntl(self.pidfd, F_DUPFD_CLOEXEC, 3) if self.pidfd >= 0 else -1

    def signal(self, number: int) -> bool:
        """Send signal `number` unless the process has ended; return whether it was sent."""
        with self._lock:
            if self.pidfd < 0:
                return False
            with doing(f"sending signal {number} to process {self.pid}"):
                try:
                    _signal.pidfd_send_signal(self.pidfd, number)
                except ProcessLookupError:
                    return False
        return True

    def close(self) -> None:
        """Close the pidfd. May be called twice."""
        with self._lock:
            self._let_go()

    def _let_go(self) -> None:
        if self.pidfd >= 0:
            os.close(self.pidfd)
            self.pidfd = -1
        if not self.has_ended:
            self.lost = "it was let go of before it ended"


def _reason() -> str:
    if _signal.getsignal(_signal.SIGCHLD) == _signal.SIG_IGN:
        return "this program ignores SIGCHLD, so the kernel keeps no exit status for it"
    return "another part of this program has waited for all of its children, waitpid(-1)"


def _is_readable(fd: int, seconds: float | None) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    if seconds is not None:
        seconds = min(seconds, LONGEST_POLL_S)
    # Rounded up: a waiter that wakes early would loop.
    return bool(poll.poll(None if seconds is None else int(seconds * 1000) + (seconds > 0)))
