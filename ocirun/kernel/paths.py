"""Open paths under rules that the kernel enforces.

Source: openat2(2); linux/openat2.h for the values.
"""

from __future__ import annotations

import os

from ocirun.kernel._native import ffi, lib
from ocirun.kernel.oserror import REFUSED, encoded, oserror

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

RESOLVE_NO_XDEV: Final = 0x01  # do not cross into another mount
RESOLVE_NO_MAGICLINKS: Final = 0x02  # refuse /proc/PID/fd/N and the like: ELOOP
RESOLVE_NO_SYMLINKS: Final = 0x04  # no symbolic link anywhere on the way: ELOOP
RESOLVE_BENEATH: Final = 0x08  # leaving dir_fd is an error: EXDEV
RESOLVE_IN_ROOT: Final = 0x10  # dir_fd is "/": absolute links and ".." stay inside


def openat2(dir_fd: int, path: str, flags: int, mode: int = 0, resolve: int = 0) -> int:
    """Open `path` relative to `dir_fd` under the RESOLVE_* rules of `resolve`.

    O_CLOEXEC is added. `mode` only with O_CREAT. Returns a descriptor the caller closes.

    Raises:
        OSError: as open(2) does; EAGAIN when a rename raced with "..", to be tried again.
    """
    flags |= os.O_CLOEXEC
    fd: int = lib.sys_openat2(dir_fd, encoded(path), flags, mode, resolve)
    if fd < 0:
        call = f"openat2({dir_fd}, {path!r}, {{{flags:#o}, {mode:#o}, {resolve:#x}}})"
        raise oserror(ffi.errno, call, path)
    return fd


def may_execute(path: bytes, mode: int) -> bool:
    """Return whether our effective ids and capabilities let us execute the file at `path`.

    Where a filter refuses to say, ours or the container's, an execute bit in `mode` has to do:
    execve has the last word.

    Source: faccessat2(2).
    """
    if lib.sys_may_execute(path) == 0:
        return True
    return ffi.errno in REFUSED and bool(mode & 0o111)
