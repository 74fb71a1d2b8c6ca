"""The last touches on the root: what had to stay writable until now becomes read-only.

Source: runtime-spec config.md#root (readonly), config.md#mounts; mount_setattr(2).
"""

from __future__ import annotations

import os
import time
from errno import EBUSY

from ocirun.errors import doing
from ocirun.kernel.mount import AT_FDCWD, MOUNT_ATTR_RDONLY, mount_setattr

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

TRIES: Final = 5
PAUSE_S: Final = 0.1


def remount_readonly(deferred: list[tuple[int, str]]) -> None:
    """Make read-only each deferred mount: its descriptor, closed here, and its destination.

    Order: after the pivot, when devices, links and the console have been put into /dev.
    """
    while deferred:
        mount_fd, destination = deferred.pop()
        try:
            with doing(f'making "{destination}" read-only'):
                set_readonly(mount_fd, "")
        finally:
            os.close(mount_fd)


def readonly_root() -> None:
    """Make "/" read-only; every other attribute it has, locked or not, stays."""
    with doing("making / read-only"):
        set_readonly(AT_FDCWD, "/")


def set_readonly(dir_fd: int, path: str) -> None:
    """Set MOUNT_ATTR_RDONLY on the mount at `path` under `dir_fd`, waiting out a writer.

    Kernel: EBUSY while a file on it is open for writing; we wait half a second for that to end.
    """
    for _ in range(TRIES - 1):
        try:
            mount_setattr(dir_fd, path, 0, MOUNT_ATTR_RDONLY)
        except OSError as error:
            if error.errno != EBUSY:
                raise
            time.sleep(PAUSE_S)
        else:
            return
    mount_setattr(dir_fd, path, 0, MOUNT_ATTR_RDONLY)
