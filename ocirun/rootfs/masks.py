"""What the container may not see, and what it may only read.

Works before and after the pivot: all that is needed is the root's descriptor.
Source: runtime-spec config-linux.md#masked-paths, #readonly-paths.
"""

from __future__ import annotations

import os
import stat

from ocirun.errors import SetupError, doing
from ocirun.kernel.mount import (
    AT_RECURSIVE,
    MOUNT_ATTR_RDONLY,
    MS_RDONLY,
    mount_setattr,
    move_mount,
)
from ocirun.rootfs.filesystems import attach_copy, label_option, make_filesystem
from ocirun.rootfs.mountpoints import clean, is_directory
from ocirun.rootfs.resolve import LeadsToRoot, open_in_root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from ocirun.rootfs.context import MountContext

NULL: Final = os.makedev(1, 3)

# Security: a masked directory costs kernel memory; the smallest tmpfs there is, and one for all.
EMPTY: Final = ["nr_blocks=1", "nr_inodes=1"]


def open_null(root_fd: int) -> int:
    """Open the root's /dev/null, verified to be that device. The caller closes the descriptor.

    Security: CVE-2025-31133: a /dev/null that is a link made masking mount a file of procfs.

    Raises:
        SetupError: /dev/null is missing or something else.
    """
    with doing('opening "/dev/null"'):
        fd = open_in_root(root_fd, "/dev/null", os.O_PATH | os.O_NOFOLLOW)
    found = os.fstat(fd)
    if not stat.S_ISCHR(found.st_mode) or found.st_rdev != NULL:
        os.close(fd)
        raise SetupError('"/dev/null" in the root is not the null device')
    return fd


def mask_paths(root_fd: int, paths: list[str], null_fd: int, context: MountContext) -> None:
    """Cover directories with an empty read-only tmpfs, everything else with the null device.

    `null_fd` comes from open_null, borrowed. A path that does not exist needs no mask.

    Raises:
        SetupError: a path leads to the root itself. A mount over that hides nothing from processes
            that are in it already.
    """
    with _Masks(null_fd, context.mount_label) as masks:
        for path in _distinct(paths):
            with doing(f'masking "{path}"'):
                try:
                    target_fd = _open_if_there(root_fd, path, context)
                except LeadsToRoot:
                    raise SetupError(f'masking "{path}": it is the root of the container') from None
                if target_fd >= 0:
                    masks.cover(target_fd)


def readonly_paths(root_fd: int, paths: list[str], context: MountContext) -> None:
    """Bind each path on itself, read-only, with all mounted below it still visible.

    The other attributes of its mount stay. A path that does not exist is passed over. A path that
    leads to the root makes that read-only, and not what is mounted below it, as with runc.
    """
    for path in _distinct(paths):
        with doing(f'making "{path}" read-only'):
            try:
                target_fd = _open_if_there(root_fd, path, context)
            except LeadsToRoot:
                mount_setattr(root_fd, "", 0, MOUNT_ATTR_RDONLY)
            else:
                if target_fd >= 0:
                    _bind_readonly(target_fd)


class _Masks:
    """What masks are copied from: the null device, and one empty tmpfs for all directories."""

    __slots__ = ("_empty_fd", "_mount_label", "_null_fd")

    def __init__(self, null_fd: int, mount_label: str) -> None:
        self._null_fd = null_fd
        self._mount_label = mount_label
        self._empty_fd = -1

    def cover(self, target_fd: int) -> None:
        """Mask what `target_fd` stands for; closes it."""
        try:
            if not is_directory(target_fd):
                attach_copy(self._null_fd, target_fd)
            elif self._empty_fd >= 0:
                attach_copy(self._empty_fd, target_fd)
            else:
                # Kernel: before 6.15 only an attached mount can be copied: the first directory
                # gets the tmpfs itself, the others copies of it.
                self._empty_fd = _make_empty(self._mount_label)
                move_mount(self._empty_fd, target_fd)
        finally:
            os.close(target_fd)

    def __enter__(self) -> _Masks:
        return self

    def __exit__(self, *_: object) -> None:
        if self._empty_fd >= 0:
            os.close(self._empty_fd)


def _distinct(paths: list[str]) -> dict[str, None]:
    """Return each path once, however often and however spelled it is listed."""
    return dict.fromkeys(path if ".." in path else clean(path) for path in paths)


def _open_if_there(root_fd: int, path: str, context: MountContext) -> int:
    """Open `path` of the container, which the caller closes; -1 when it does not exist.

    Security: what lies in a procfs or sysfs is looked for from that very mount, for the names
    that led to it may have been exchanged since (kernel_mounts.py). A path with ".." may leave it
    again, and is looked for from the root.
    """
    if "/../" in f"{path}/":
        start_fd, below = root_fd, path
    else:
        start_fd, below = context.kernel_mounts.start_of(root_fd, path)
    try:
        if below == ".":
            return os.open(below, os.O_PATH | os.O_CLOEXEC, dir_fd=start_fd)
        return open_in_root(start_fd, below)
    except FileNotFoundError:
        return -1


def _bind_readonly(target_fd: int) -> None:
    """Bind what `target_fd` stands for on itself, read-only; closes it."""
    try:
        attach_copy(target_fd, target_fd, AT_RECURSIVE, MOUNT_ATTR_RDONLY)
    finally:
        os.close(target_fd)


def _make_empty(mount_label: str) -> int:
    data = [*EMPTY, label_option(mount_label)] if mount_label else EMPTY
    return make_filesystem("tmpfs", "tmpfs", MOUNT_ATTR_RDONLY, MS_RDONLY, data)
