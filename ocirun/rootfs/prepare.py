"""Prepare the root: set the propagation of mounts, and make the rootfs a mount.

Source: runtime-spec config-linux.md#rootfs-mount-propagation; mount_namespaces(7); pivot_root(2).
"""

from __future__ import annotations

import os
from errno import EINVAL

from ocirun.errors import SetupError, doing
from ocirun.kernel.mount import (
    AT_FDCWD,
    AT_RECURSIVE,
    MS_PRIVATE,
    MS_SHARED,
    MS_UNBINDABLE,
    OPEN_TREE_CLONE,
    mount_id,
    mount_setattr,
    move_mount,
    open_tree,
)
from ocirun.spec.mount_options import PROPAGATION_OPTIONS


def set_propagation(rootfs_propagation: str | None) -> None:
    """Decide what mount events cross between this mount namespace and the one it was copied from.

    The default is rslave: mounts of the host may come in, nothing gets out.

    Source: runtime-spec config-linux.md#rootfs-mount-propagation.
    """
    kind, recursive = _propagation(rootfs_propagation or "rslave")
    if kind == MS_UNBINDABLE:
        # Nothing unbindable can be the source of a bind mount, the rootfs least of all: private
        # until the old root is gone, then repropagate() makes it what was asked for.
        kind = MS_PRIVATE
    with doing(f"making / {rootfs_propagation or 'rslave'}"):
        mount_setattr(AT_FDCWD, "/", AT_RECURSIVE if recursive else 0, propagation=kind)


def attach_root(rootfs: str, rootfs_propagation: str | None) -> int:
    """Bind the rootfs (a host path, with all mounts below it) on itself, so that it is a mount.

    pivot_root needs a mount, and with its own every attribute set on "/" ends there.
    `rootfs_propagation` is what set_propagation was given: where it has left mounts shared, the one
    that holds the rootfs is made private. Returns an O_PATH descriptor of the new mount's root,
    through which later mounts are seen; the caller closes it.
    """
    kind, recursive = _propagation(rootfs_propagation or "rslave")
    with doing(f'binding rootfs "{rootfs}" on itself'):
        under_fd = os.open(rootfs, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            if (kind == MS_SHARED or not recursive) and _is_shared(under_fd):
                _make_private(under_fd)
            root_fd = open_tree(under_fd, "", OPEN_TREE_CLONE | AT_RECURSIVE)
            move_mount(root_fd, under_fd)
        finally:
            os.close(under_fd)
    return root_fd


def repropagate(rootfs_propagation: str | None) -> None:
    """Set the propagation of the new "/", after the pivot.

    Order: before the pivot "/" still was the host's root: shared there means shared with the host,
    and unbindable would have kept the rootfs from being bound. Private and slave hold already.
    """
    if not rootfs_propagation:
        return
    kind, recursive = _propagation(rootfs_propagation)
    if kind in (MS_SHARED, MS_UNBINDABLE):
        with doing(f"making / {rootfs_propagation}"):
            mount_setattr(AT_FDCWD, "/", AT_RECURSIVE if recursive else 0, propagation=kind)


def _propagation(word: str) -> tuple[int, bool]:
    found = PROPAGATION_OPTIONS.get(word)
    if found is None:
        raise SetupError(f"rootfsPropagation={word} is not supported")
    return found


def _is_shared(under_fd: int) -> bool:
    """Whether the mount that holds `under_fd` is shared; also where the table does not have it.

    A slave stays one: it may be the parent of a new root, and takes part in what rootfsPropagation
    asks for.
    """
    from ocirun.kernel.mountinfo import read_mountinfo  # cold: a propagation of the bundle's own

    number = mount_id(under_fd)
    return all(row.is_shared for row in read_mountinfo() if row.mount_id == number)


def _make_private(under_fd: int) -> None:
    """Make the mount that holds `under_fd` private, wherever above it that mount begins.

    Kernel: pivot_root refuses a new root whose parent mount is shared, and binding on a shared
    mount would show on the host. Only the root of a mount takes a propagation: EINVAL elsewhere.
    """
    fd = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=under_fd)
    try:
        while True:
            try:
                mount_setattr(fd, "", 0, propagation=MS_PRIVATE)
            except OSError as error:
                if error.errno != EINVAL:
                    raise
            else:
                return
            up_fd = os.open("..", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=fd)
            here, up = os.fstat(fd), os.fstat(up_fd)
            os.close(fd)
            fd = up_fd
            if (here.st_dev, here.st_ino) == (up.st_dev, up.st_ino):
                # "/" of a chroot that is not the root of a mount: pivot_root would fail as well.
                raise SetupError(
                    "cannot make the mount that holds the rootfs private: it begins outside /"
                )
    finally:
        os.close(fd)
