"""A child that only waits, to keep a cgroup or scope in existence.

Source: clone3(2), prctl(2), waitid(2).
"""

from __future__ import annotations

import os

from ocirun.kernel._native import ffi, lib
from ocirun.kernel.oserror import oserror
from ocirun.kernel.userns import SIGKILL, WALL


class Holder:
    """A waiting child; `end` kills it, and it dies with its parent.

    `pid` is its pid on the host. It has no open descriptors and blocks every signal but SIGKILL.
    The caller may have threads.

    Raises:
        OSError: it could not be cloned.
    """

    __slots__ = ("_pidfd", "pid")

    def __init__(self) -> None:
        pidfd = ffi.new("int *", -1)
        self.pid = lib.sys_hold(pidfd)
        if self.pid < 0:
            raise oserror(ffi.errno, "clone3(CLONE_PIDFD)")
        self._pidfd = int(pidfd[0])

    def end(self) -> None:
        """Kill and reap it. May be called twice."""
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
