"""The exit status of a process that is not, or no longer, ours to wait for.

Source: proc_pid_stat(5), field 52; include/uapi/linux/pidfd.h of Linux 6.15.
"""

from __future__ import annotations

import os
from errno import EINVAL, ENOTTY, ESRCH
from fcntl import ioctl
from struct import pack_into, unpack_from

from ocirun.kernel.procstat import START_TIME_FIELD, stat_fields

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

# The first version of struct pidfd_info, which every later one begins with: its first word is the
# mask, its last one the status.
PIDFD_GET_INFO: Final = 0xC040FF0B
PIDFD_INFO_BYTES: Final = 64
PIDFD_INFO_EXIT: Final = 1 << 3
EXIT_CODE_AT: Final = 60
EXIT_CODE_FIELD: Final = -1  # the last one


def status_of_reaped(pidfd: int) -> int | None:
    """Return the status of the process of `pidfd` (borrowed), which has been reaped.

    As wait(2) gives it; None where the kernel does not keep it (before 6.15).
    """
    info = bytearray(PIDFD_INFO_BYTES)
    pack_into("Q", info, 0, PIDFD_INFO_EXIT)
    try:
        ioctl(pidfd, PIDFD_GET_INFO, info)
    except OSError as error:
        # Kernel: before 6.11 pidfds have no such ioctl (ENOTTY, EINVAL); ESRCH before 6.15.
        if error.errno not in (ENOTTY, EINVAL, ESRCH):
            raise
        return None
    if not unpack_from("Q", info, 0)[0] & PIDFD_INFO_EXIT:
        return None
    status: int = unpack_from("i", info, EXIT_CODE_AT)[0]
    return status


def status_of_zombie(pid: int, start: int) -> int | None:
    """Return the status of the process `pid` that began at `start` and was not reaped yet.

    As wait(2) gives it; None if it is no zombie, or gone. Kernel: who may not trace the process
    reads 0 there, so None stands for that too unless we are root.
    """
    fields = stat_fields(pid)
    if fields is None or fields[0] != b"Z" or int(fields[START_TIME_FIELD]) != start:
        return None
    status = int(fields[EXIT_CODE_FIELD])
    return status if status or os.geteuid() == 0 else None
