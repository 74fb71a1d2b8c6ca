"""A procfs of our own, which no mount inside the container can stand before.

Security: CVE-2025-52881. A path such as /proc/sys/net/… may be covered, by another container that
shares the mount namespace, with a link or a mount of any other file. A detached procfs cannot be
covered, and below its descriptor nothing is followed.
"""

from __future__ import annotations

import os

from ocirun.kernel.mount import (
    AT_FDCWD,
    OPEN_TREE_CLONE,
    fsconfig_create,
    fsmount,
    fsopen,
    open_tree,
)
from ocirun.kernel.paths import (
    RESOLVE_BENEATH,
    RESOLVE_NO_SYMLINKS,
    RESOLVE_NO_XDEV,
    openat2,
)


def open_private_procfs() -> int:
    """Mount a procfs that is attached nowhere.

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
        return open_tree(AT_FDCWD, "/proc", OPEN_TREE_CLONE)


def write_below(procfs_fd: int, path: str, value: str) -> None:
    """Write `value` to the file `path`, relative to the procfs, in one write."""
    fd = openat2(
        procfs_fd,
        path,
        os.O_WRONLY | os.O_CLOEXEC,
        resolve=RESOLVE_BENEATH | RESOLVE_NO_XDEV | RESOLVE_NO_SYMLINKS,
    )
    try:
        os.write(fd, os.fsencode(value))
    finally:
        os.close(fd)
