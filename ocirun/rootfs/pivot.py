"""Make the root "/", and detach the old one. Afterwards the working directory is the new "/".

Source: pivot_root(2), chroot(2), mount_namespaces(7).
"""

from __future__ import annotations

import os
from errno import EINVAL, ENOENT, EPERM

from ocirun.errors import doing
from ocirun.kernel.mount import (
    AT_FDCWD,
    AT_RECURSIVE,
    MNT_DETACH,
    MS_SLAVE,
    fsconfig_create,
    fsmount,
    fsopen,
    mount_id,
    mount_setattr,
    move_mount,
    open_tree,
    pivot_root,
    umount2,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from ocirun.kernel.mountinfo import MountRow

FULL_VIEWS: Final = ("proc", "sysfs")


def pivot(root_fd: int) -> None:
    """Enter the root with pivot_root and drop the old root. `root_fd` is borrowed."""
    with doing("pivot_root"):
        # Both stay open over the change: no path names the old root afterwards.
        old_fd = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fchdir(root_fd)
            # Kernel: with "." twice the old root is mounted on top of the new one; no directory
            # inside the image is needed for it.
            pivot_root(".", ".")
            os.fchdir(old_fd)
            # Order: slave before the unmount, or a shared old root would unmount the host's; and
            # not private, which for the moment in between would lose the host's own unmounts.
            mount_setattr(AT_FDCWD, ".", AT_RECURSIVE, propagation=MS_SLAVE)
            umount2(".", MNT_DETACH)
            os.chdir("/")
        finally:
            os.close(old_fd)


def move_root(root_fd: int) -> None:
    """Enter the root without pivot_root (--no-pivot, for a root on the initial ramdisk).

    The old root stays in the mount namespace, below. `root_fd` is borrowed.
    """
    with doing("covering the host's proc and sysfs"):
        _cover_full_views(mount_id(root_fd))
    with doing("moving the root to /"):
        slash_fd = open_tree(AT_FDCWD, "/", 0)
        try:
            move_mount(root_fd, slash_fd)
        finally:
            os.close(slash_fd)
    chroot(root_fd)


def chroot(root_fd: int) -> None:
    """Enter the root with chroot alone (no mount namespace of its own). `root_fd` is borrowed."""
    with doing("chroot"):
        os.fchdir(root_fd)
        os.chroot(".")
        os.chdir("/")


def _cover_full_views(root_mount: int) -> None:
    """Take away every unrestricted proc and sysfs that is mounted outside the new root.

    Security: the kernel lets a user namespace mount proc or sysfs anew only where a full one is
    visible already; behind a chroot the host's would still count, masks or not.
    """
    from ocirun.kernel.mountinfo import read_mountinfo  # cold: --no-pivot

    for mount_point in full_views(read_mountinfo(), root_mount):
        try:
            # Order: slave first, so that the unmount does not happen on the host.
            mount_setattr(AT_FDCWD, mount_point, AT_RECURSIVE, propagation=MS_SLAVE)
        except OSError as error:
            if error.errno in (ENOENT, EINVAL):
                continue  # it went away together with a mount above it
            raise
        try:
            umount2(mount_point, MNT_DETACH)
        except OSError as error:
            if error.errno not in (EINVAL, EPERM):
                raise
            _cover(mount_point)  # locked by an outer user namespace: hide it instead


def full_views(rows: list[MountRow], root_mount: int) -> list[str]:
    """Return where `rows`, the mounts there are, show whole proc or sysfs file systems.

    Those on the mount `root_mount` or below it belong to the container and are left out.
    """
    from ocirun.kernel.mountinfo import descendants  # cold: --no-pivot

    inside = {row.mount_id for row in descendants(rows, root_mount)} | {root_mount}
    return [
        row.point
        for row in rows
        if row.root == "/" and row.fs_name in FULL_VIEWS and row.mount_id not in inside
    ]


def _cover(mount_point: str) -> None:
    fs_fd = fsopen("tmpfs")
    try:
        fsconfig_create(fs_fd)
        mount_fd = fsmount(fs_fd, 0)
    finally:
        os.close(fs_fd)
    try:
        place_fd = os.open(mount_point, os.O_PATH | os.O_CLOEXEC)
        try:
            move_mount(mount_fd, place_fd)
        finally:
            os.close(place_fd)
    finally:
        os.close(mount_fd)
