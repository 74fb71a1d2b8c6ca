"""What /proc says of processes, without the native module.

`state`, `kill`, `start` and `delete` need only this and plain files, so they never
load cffi (1 ms).
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

# Fields of proc_pid_stat(5), counted after "pid (comm) ".
START_TIME_FIELD: Final = 19


def start_time(pid: int) -> int | None:
    """Return the start time of `pid` in clock ticks since boot; None if it is gone or a zombie.

    A pid may be reused; the pair (pid, start time) is not.

    Source: proc_pid_stat(5), field 22.
    """
    fields = stat_fields(pid)
    if fields is None or fields[0] in (b"Z", b"X", b"x"):
        return None
    return int(fields[START_TIME_FIELD])


def stat_fields(pid: int) -> list[bytes] | None:
    """Read the fields of /proc/PID/stat from the state on; None if the process is gone.

    Source: proc_pid_stat(5).
    """
    try:
        fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        text = os.read(fd, 4096)
    except ProcessLookupError:  # it went away between open and read
        return None
    except OSError as error:
        error.filename = f"/proc/{pid}/stat"  # read(2) knows only a number
        raise
    finally:
        os.close(fd)
    # Security: comm may hold spaces and parentheses; the last one ends it.
    return text[text.rindex(b")") + 2 :].split()


def is_in_user_namespace() -> bool:
    """Return whether we are in a user namespace below the first one, where all ids are themselves.

    Source: user_namespaces(7).
    """
    try:
        fd = os.open("/proc/self/uid_map", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:  # a kernel without user namespaces
        return False
    try:
        return os.read(fd, 4096).split() != [b"0", b"0", b"4294967295"]
    finally:
        os.close(fd)
