"""Locks on a whole file, held by an open file description.

A lock ends with the last descriptor of the description, forked copies included.
Not flock(2): filters around a runtime refuse it now and then, fcntl(2) never, and the two do not
see each other.

Source: fcntl_locking(2), "Open file description locks".
"""

from __future__ import annotations

import sys
from fcntl import F_OFD_GETLK, F_OFD_SETLK, F_OFD_SETLKW, F_RDLCK, F_UNLCK, F_WRLCK, fcntl

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

# struct flock for the whole file: the type, then zeros.
_READ: Final = F_RDLCK.to_bytes(2, sys.byteorder) + bytes(30)
_WRITE: Final = F_WRLCK.to_bytes(2, sys.byteorder) + bytes(30)


def lock(fd: int) -> None:
    """Take the exclusive lock of a file that is open for writing; wait for other holders."""
    fcntl(fd, F_OFD_SETLKW, _WRITE)


def try_lock(fd: int) -> None:
    """Take the lock of a file that is open for writing.

    Raises:
        BlockingIOError: another process has it.
    """
    fcntl(fd, F_OFD_SETLK, _WRITE)


def hold(fd: int) -> None:
    """Take a shared lock, the most that a directory allows, for others to find with `is_held`."""
    fcntl(fd, F_OFD_SETLK, _READ)


def is_held(fd: int) -> bool:
    """Return whether another process holds a lock of either kind."""
    answer = fcntl(fd, F_OFD_GETLK, _WRITE)
    return answer[:2] != F_UNLCK.to_bytes(2, sys.byteorder)
