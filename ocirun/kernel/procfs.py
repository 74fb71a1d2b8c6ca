"""A private procfs that no mount inside the container can cover.

Security: CVE-2025-52881. A path such as /proc/sys/net/… may be covered, by another container that
shares the mount namespace, with a link or a mount of any other file. A detached procfs cannot be
covered, and below its descriptor nothing is followed.
"""

from __future__ import annotations

import os
from errno import EINVAL, EPERM

from ocirun.kernel.mount import (
    AT_FDCWD,
    AT_RECURSIVE,
    OPEN_TREE_CLONE,
    fsconfig_create,
    fsmount,
    fsopen,
    fstatfs,
    open_tree,
)
from ocirun.kernel.oserror import oserror
from ocirun.kernel.paths import (
    RESOLVE_BENEATH,
    RESOLVE_NO_SYMLINKS,
    RESOLVE_NO_XDEV,
    openat2,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

PROC_SUPER_MAGIC: Final = 0x9FA0
PROC_ROOT_INO: Final = 1
# No links are followed, and no mounts are crossed.
RESOLVE: Final = RESOLVE_BENEATH | RESOLVE_NO_XDEV | RESOLVE_NO_SYMLINKS


def open_private_procfs() -> int:
    """Create a detached procfs mount.

    Order: before pivot_root. In a user namespace the kernel allows it only where an uncovered
    /proc is visible; where even that is refused, the visible /proc is cloned.

    Returns:
        The descriptor of its root; the caller closes it.
    """
    try:
        fs_fd = fsopen("proc")
        try:
            fsconfig_create(fs_fd)
            return fsmount(fs_fd, 0)
        finally:
            os.close(fs_fd)
    except PermissionError:
        return _clone_visible_procfs()


def _clone_visible_procfs() -> int:
    """Clone the mount at /proc, after a check that it is a procfs.

    Raises:
        OSError: EPERM when the root of a procfs is not what stands there.
    """
    try:
        fd = open_tree(AT_FDCWD, "/proc", OPEN_TREE_CLONE)
    except OSError as error:
        if error.errno != EINVAL:
            raise
        # Kernel: mounts below it from an outer user namespace are locked, and must be cloned too.
        fd = open_tree(AT_FDCWD, "/proc", OPEN_TREE_CLONE | AT_RECURSIVE)
    if fstatfs(fd)[0] != PROC_SUPER_MAGIC or os.fstat(fd).st_ino != PROC_ROOT_INO:
        os.close(fd)
        raise oserror(EPERM, "fstatfs(/proc): not the root of a procfs", "/proc")
    return fd


def write_below(procfs_fd: int, path: str, value: str) -> None:
    """Write `value` to the file `path`, relative to the procfs, in one write.

    Raises:
        OSError: as open(2) and write(2); ELOOP, EXDEV for a link or a mount on the way. Only that
            of the open has a `filename`.
    """
    fd = openat2(procfs_fd, path, os.O_WRONLY, resolve=RESOLVE)
    try:
        os.write(fd, os.fsencode(value))
    finally:
        os.close(fd)


def write_own(procfs_fd: int, path: str, value: str) -> None:
    """Write `value` to the file `path` of our own process; an empty value is written too."""
    write_below(procfs_fd, f"{own_number(procfs_fd)}/{path}", value)


def own_number(procfs_fd: int) -> str:
    """Return our pid in the pid namespace that this procfs shows."""
    fd = openat2(procfs_fd, "self", os.O_PATH | os.O_NOFOLLOW, resolve=RESOLVE)
    try:
        return os.readlink("", dir_fd=fd)
    finally:
        os.close(fd)
