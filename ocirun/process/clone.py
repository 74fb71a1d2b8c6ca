"""Clone init, and reap children.

Source: clone3(2), waitpid(2).
"""

from __future__ import annotations

import os
from errno import E2BIG, EACCES, EAGAIN, EBUSY, EINVAL, EOPNOTSUPP

from ocirun.errors import doing
from ocirun.kernel.oserror import REFUSED
from ocirun.kernel.process import clone3

TYPE_CHECKING = False
if TYPE_CHECKING:
    Cloned = tuple[int, int, bool]  # host pid, pidfd, born in its cgroup


def clone_init(flags: int, cgroup_fd: int | None) -> Cloned:
    """Clone, into the cgroup when the kernel does that.

    Born there, init needs not be moved, for which the kernel would wait an RCU grace period.

    Returns:
        Init's host pid (0 in init), its pidfd, which the caller closes, and whether it was born
        in the cgroup.
    """
    with doing("cloning init"):
        if cgroup_fd is not None:
            try:
                return *clone3(flags, cgroup_fd), True
            except OSError as error:
                # Kernel: 5.7 knows the flag; a threaded or a strange cgroup refuses it, and one
                # at its pids.max (EAGAIN): it lets nobody be born, but may be moved into.
                # EPERM and ENOSYS: a filter around us keeps clone3 back, and clone cannot do it.
                if error.errno not in (E2BIG, EINVAL, EOPNOTSUPP, EBUSY, EACCES, EAGAIN, *REFUSED):
                    raise
        return *clone3(flags), False


def reap(pid: int) -> None:
    """Reap a child of ours, unless the program that we are a library of was faster."""
    with doing(f"waiting for the process {pid}"):
        try:
            os.waitpid(pid, 0)
        except ChildProcessError:
            return
