"""A process that does nothing: it is somewhere for us, until we need it no more.

Source: clone3(2), prctl(2), waitid(2).
"""

from __future__ import annotations

import os

from ocirun.kernel._native import ffi, lib
from ocirun.kernel.oserror import oserror
from ocirun.kernel.userns import SIGKILL, WALL


class Holder:
    """A child that only waits, until it is killed by `end` or dies with who made it.

    `pid` is its host pid. It keeps no descriptor open and hears no signal but SIGKILL. Threads of
    the caller do not matter.

    Raises:
        OSError: the kernel allowed no process.
    """

    __slots__ = ("_pidfd", "pid")

    def __init__(self) -> None:
        pidfd = ffi.new("int *", -1)
        self.pid = lib.sys_hold(pidfd)
        if self.pid < 0:
            raise oserror(ffi.errno, "clone3(CLONE_PIDFD)")
        self._pidfd = int(pidfd[0])

    def end(self) -> None:
        """Kill it and reap it. May be called twice."""
        from _signal import pidfd_send_signal

        pidfd, self._pidfd = self._pidfd, -1
        if pidfd < 0:
            return
        try:
            pidfd_send_signal(pidfd, SIGKILL)
            os.waitid(os.P_PIDFD, pidfd, os.WEXITED | WALL)
        except (ProcessLookupError, ChildProcessError):  # reaped by the program we are part of
            return
        finally:
            os.close(pidfd)
