"""The file that a caller finds a pid in, --pid-file.

Source: docs/runc-compat/protocols.md#pid-file; rename(2).
"""

from __future__ import annotations

import os
import stat

from ocirun.errors import UsageError, doing


def check_pid_file(path: str | None) -> None:
    """Refuse a pid file that would replace something else.

    Order: before anything is made.

    Security: the file is renamed over what lies there. As root that has replaced /dev/full for a
    whole machine.

    Raises:
        UsageError: a device, a folder, a link or anything else but a regular file is there.
    """
    if path is None or not os.path.lexists(path):
        return
    if not stat.S_ISREG(os.lstat(path).st_mode):
        raise UsageError(f"--pid-file {path}: what is there is not a regular file")


def write_pid_file(path: str, pid: int) -> None:
    """Write `pid` in decimal, without a newline, complete from the moment the file is there."""
    check_pid_file(path)
    directory, _, name = path.rpartition("/")
    temporary = f"{directory}/.{name}.{pid}" if directory else f".{name}.{pid}"
    with doing(f"writing the pid file {path}"):
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            try:
                os.write(fd, str(pid).encode())
            finally:
                os.close(fd)
            os.rename(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
