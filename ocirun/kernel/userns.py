"""A child in a user namespace, so that the caller need not enter it.

A user namespace exists only with a process in it or a descriptor on it, and its maps can be read
and written only through a process. Source: user_namespaces(7), clone3(2), waitid(2).
"""

from __future__ import annotations

import os
import sys
from errno import ECHILD

from ocirun.kernel._native import ffi, lib
from ocirun.kernel.oserror import oserror

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

WALL: Final = 0x40000000  # __WALL: wait for children without SIGCHLD too
SIGKILL: Final = 9
INT_BYTES: Final = 4


class UserNamespaceHolder:
    """A child in a new user namespace, killed at the end of the block.

    `join_fd` (borrowed) is the namespace to join; without it a new one is made, whose maps are
    still to be written. `pid` is the child's host pid. Threads of the caller do not matter.

    Raises:
        OSError: the kernel refused the namespace.
    """

    __slots__ = ("_join_fd", "_pidfd", "pid")

    def __init__(self, join_fd: int = -1) -> None:
        self._join_fd = join_fd

    def __enter__(self) -> UserNamespaceHolder:
        ready, told = os.pipe()
        pidfd = ffi.new("int *", -1)
        try:
            self.pid = lib.sys_hold_userns(self._join_fd, told, pidfd)
            if self.pid < 0:
                raise oserror(ffi.errno, "clone3(CLONE_PIDFD|CLONE_NEWUSER)")
            self._pidfd = int(pidfd[0])
            os.close(told)
            told = -1
            if self._join_fd >= 0:
                answer = os.read(ready, INT_BYTES)  # nothing if it was killed
                errno = int.from_bytes(answer, sys.byteorder) if answer else ECHILD
                if errno:
                    self.__exit__()
                    raise oserror(errno, f"setns({self._join_fd}, CLONE_NEWUSER)")
        finally:
            os.close(ready)
            if told >= 0:
                os.close(told)
        return self

    def __exit__(self, *_: object) -> None:
        from _signal import pidfd_send_signal

        pidfd_send_signal(self._pidfd, SIGKILL)
        os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED | WALL)
        os.close(self._pidfd)


def lock_mounts(tmpfs_fd: int, mount_fds: list[int]) -> None:
    """Replace detached mounts by copies whose flags are locked, as in a user namespace's.

    `mount_fds` keep their numbers and stay the caller's. `tmpfs_fd` (borrowed) is an empty,
    detached tmpfs to attach them in. What is mounted below one comes along, and cannot be unmounted
    alone. Threads of the caller do not matter.

    Raises:
        OSError: the kernel refused a mount or user namespace, or a copy.
    """
    pidfd = ffi.new("int *", -1)
    numbers = ffi.new("int[]", mount_fds)
    if lib.sys_lock_mounts(tmpfs_fd, numbers, len(mount_fds), pidfd) < 0:
        raise oserror(ffi.errno, "clone3(CLONE_PIDFD|CLONE_FILES)")
    try:
        ended = os.waitid(os.P_PIDFD, int(pidfd[0]), os.WEXITED | WALL)
    finally:
        os.close(int(pidfd[0]))
    if ended is None or ended.si_code != os.CLD_EXITED:
        raise oserror(ECHILD, "a child that copies mounts was killed")
    if ended.si_status:
        raise oserror(ended.si_status, "copying mounts into a new user namespace")
