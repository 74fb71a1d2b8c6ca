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
    OPEN_TREE_CLONE,
    mount_setattr,
    move_mount,
    open_tree,
)
from ocirun.rootfs.filesystems import label_option, make_filesystem
from ocirun.rootfs.mountpoints import is_directory
from ocirun.rootfs.resolve import open_in_root

NULL = os.makedev(1, 3)

# Security: a masked directory costs kernel memory; the smallest tmpfs there is, and one for all.
EMPTY = ["nr_blocks=1", "nr_inodes=1"]


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


def mask_paths(root_fd: int, paths: list[str], null_fd: int, mount_label: str) -> None:
    """Cover directories with an empty read-only tmpfs, everything else with the null device.

    `null_fd` comes from open_null, borrowed. A path that does not exist needs no mask.
    """
    empty_fd = -1
    try:
        for path in paths:
            with doing(f'masking "{path}"'):
                target_fd = _open_if_there(root_fd, path)
                if target_fd < 0:
                    continue
                try:
                    if not is_directory(target_fd):
                        _cover(null_fd, target_fd)
                    elif empty_fd < 0:
                        empty_fd = _make_empty(mount_label)
                        # Kernel: before 6.15 only an attached mount can be copied: the first
                        # directory gets the tmpfs itself, the others copies of it.
                        move_mount(empty_fd, target_fd)
                    else:
                        _cover(empty_fd, target_fd)
                finally:
                    os.close(target_fd)
    finally:
        if empty_fd >= 0:
            os.close(empty_fd)


def readonly_paths(root_fd: int, paths: list[str]) -> None:
    """Bind each path on itself, read-only, with all mounted below it still visible.

    The other attributes of its mount stay. A path that does not exist is passed over.
    """
    for path in paths:
        with doing(f'making "{path}" read-only'):
            target_fd = _open_if_there(root_fd, path)
            if target_fd < 0:
                continue
            try:
                tree_fd = open_tree(target_fd, "", OPEN_TREE_CLONE | AT_RECURSIVE)
                try:
                    mount_setattr(tree_fd, "", 0, MOUNT_ATTR_RDONLY)
                    move_mount(tree_fd, target_fd)
                finally:
                    os.close(tree_fd)
            finally:
                os.close(target_fd)


def _open_if_there(root_fd: int, path: str) -> int:
    """Open `path` of the container, which the caller closes; -1 when it does not exist."""
    try:
        return open_in_root(root_fd, path)
    except FileNotFoundError:
        return -1


def _cover(source_fd: int, target_fd: int) -> None:
    """Mount a copy of what `source_fd` stands for on `target_fd`."""
    tree_fd = open_tree(source_fd, "", OPEN_TREE_CLONE)
    try:
        move_mount(tree_fd, target_fd)
    finally:
        os.close(tree_fd)


def _make_empty(mount_label: str) -> int:
    data = [*EMPTY, label_option(mount_label)] if mount_label else EMPTY
    return make_filesystem("tmpfs", "tmpfs", MOUNT_ATTR_RDONLY, MS_RDONLY, data)
