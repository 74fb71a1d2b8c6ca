"""inotify(7): wait until a file changes."""

from __future__ import annotations

import os

from ocirun.kernel._native import ffi, lib
from ocirun.kernel.oserror import oserror

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

IN_NONBLOCK: Final = os.O_NONBLOCK
IN_CLOEXEC: Final = os.O_CLOEXEC
IN_MODIFY: Final = 0x00000002


def inotify_init1(flags: int) -> int:
    """Create an inotify instance.

    Returns:
        A descriptor the caller closes.

    Raises:
        OSError: EMFILE when the user has too many (fs.inotify.max_user_instances).

    Source: inotify_init1(2).
    """
    fd = lib.inotify_init1(flags)
    if fd < 0:
        raise oserror(ffi.errno, f"inotify_init1({flags:#x})")
    return int(fd)


def inotify_add_watch(fd: int, path: str, mask: int) -> int:
    """Watch `path` through the instance `fd` (borrowed); return the number of the watch.

    Source: inotify_add_watch(2).
    """
    watch = lib.inotify_add_watch(fd, os.fsencode(path), mask)
    if watch < 0:
        raise oserror(ffi.errno, f"inotify_add_watch({fd}, {path!r}, {mask:#x})", path)
    return int(watch)
