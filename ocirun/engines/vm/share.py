"""What the guest sees of the host's files: a directory that virtiofsd shares.

    root   the root file system
    N      the source of bind mount N, with its options

It is made of mounts in a mount namespace of the monitor's own; on the host there is an empty
directory in the container's folder. Read-only is decided here, where the guest cannot change it.

Source: docs/vm.md#files; open_tree(2), mount_namespaces(7).
"""

from __future__ import annotations

import os

from ocirun.errors import doing
from ocirun.kernel.mount import (
    AT_FDCWD,
    AT_RECURSIVE,
    MOUNT_ATTR_NODEV,
    MOUNT_ATTR_RDONLY,
    MS_PRIVATE,
    MS_SLAVE,
    OPEN_TREE_CLONE,
    mount_setattr,
    move_mount,
    open_tree,
)
from ocirun.kernel.process import CLONE_NEWNS, unshare
from ocirun.rootfs.filesystems import make_filesystem, set_attributes
from ocirun.rootfs.mountpoints import is_directory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Final

    from ocirun.rootfs.context import Entry

ROOT: Final = "root"


def make_share(directory: str, rootfs: str, *, readonly: bool, binds: Sequence[Entry]) -> None:
    """Enter a mount namespace of our own, and make the share on the empty `directory` there.

    Raises:
        SetupError: a source does not open, or the kernel refuses.
    """
    with doing("making a mount namespace"):
        unshare(CLONE_NEWNS)
        mount_setattr(AT_FDCWD, "/", AT_RECURSIVE, propagation=MS_SLAVE)
    with doing(f"making the share {directory}"):
        mount_fd = make_filesystem("tmpfs", "ocirun", 0, 0, ["mode=0700", "size=1m"])
        try:
            target_fd = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                move_mount(mount_fd, target_fd)
                mount_setattr(mount_fd, "", 0, propagation=MS_PRIVATE)
            finally:
                os.close(target_fd)
            with doing(f'sharing rootfs "{rootfs}"'):
                tree_fd = open_tree(AT_FDCWD, rootfs, OPEN_TREE_CLONE | AT_RECURSIVE)
                attributes = MOUNT_ATTR_NODEV | (MOUNT_ATTR_RDONLY if readonly else 0)
                _put(tree_fd, mount_fd, ROOT, attributes)
            for entry in binds:
                with doing(f'sharing "{entry.source}" for "{entry.destination}"'):
                    flags = AT_RECURSIVE if entry.options.recursive else 0
                    tree_fd = open_tree(AT_FDCWD, entry.source, OPEN_TREE_CLONE | flags)
                    set_attributes(tree_fd, entry.options)
                    _put(tree_fd, mount_fd, str(entry.index), MOUNT_ATTR_NODEV)
        finally:
            os.close(mount_fd)


def _put(tree_fd: int, mount_fd: int, name: str, attributes: int) -> None:
    """Attach `tree_fd` (used up) as `name` on our tmpfs."""
    try:
        if is_directory(tree_fd):
            os.mkdir(name, 0o755, dir_fd=mount_fd)
        else:
            flags = os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            os.close(os.open(name, flags, 0o600, dir_fd=mount_fd))
        mount_setattr(tree_fd, "", 0, attributes)
        target_fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=mount_fd)
        try:
            move_mount(tree_fd, target_fd)
        finally:
            os.close(target_fd)
    finally:
        os.close(tree_fd)
