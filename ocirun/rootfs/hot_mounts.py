"""Mounts for a container that runs already: made whole outside of it, then moved in or taken away.

By now the root is full of hostile processes. A mount therefore gets every attribute while nobody
can see it, and its place is opened once, inside the root; what the open found is judged by
descriptor, not by its path.

Source: open_tree(2), move_mount(2), umount2(2); docs/runc-compat/cli.md#mounts.
"""

from __future__ import annotations

import os
from errno import EINVAL, ELOOP

from ocirun.errors import Problem, SetupError, UnsupportedError, doing
from ocirun.kernel.mount import (
    MNT_DETACH,
    MOUNT_ATTR_RDONLY,
    mount_id,
    umount2,
)
from ocirun.rootfs.filesystems import (
    attach,
    finish,
    fits_fsconfig,
    label_option,
    make_filesystem,
    set_attributes,
)
from ocirun.rootfs.mountpoints import (
    LXCFS,
    open_bind_target,
    open_directory,
    open_ordinary_directory,
    refuse_procfs,
)
from ocirun.rootfs.mounts import ORDINARY, UNLABELLED, with_mode
from ocirun.rootfs.resolve import LeadsToRoot, open_straight
from ocirun.spec.mount_options import COPY_SYMLINK, DEST_NOFOLLOW, REMOUNT, TMPCOPYUP

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from ocirun.rootfs.context import Entry

# File systems that belong to their creator's namespaces: made inside, all others outside,
# where the paths they are given mean what the caller means.
MADE_INSIDE: Final = ("devpts", "mqueue", "sysfs", "tmpfs")
_EXTRAS: Final = {REMOUNT: "remount", COPY_SYMLINK: "copy-symlink", TMPCOPYUP: "tmpcopyup"}


def refuse_late(entry: Entry) -> None:
    """Refuse a mount that can only be made before processes use the root.

    Raises:
        UnsupportedError: its kind; SetupError: its destination.
    """
    pointer = f"/{entry.index}"
    for bit, word in _EXTRAS.items():
        if entry.options.extra & bit:
            message = f'"{word}" is not possible in a running container'
            raise UnsupportedError([Problem(f"{pointer}/options", message)])
    if not entry.options.bind:
        if entry.fs_name in ("proc", "cgroup"):
            message = f"a {entry.fs_name} file system cannot be added to a running container"
            raise UnsupportedError([Problem(f"{pointer}/type", message)])
        if entry.is_idmapped:
            raise UnsupportedError([Problem(pointer, "only bind mounts can be id-mapped")])
        if not fits_fsconfig(entry.options.data):
            raise UnsupportedError([Problem(f"{pointer}/options", "an option is too long")])
    refuse_place(entry.destination)


def refuse_place(destination: str) -> None:
    """Refuse a clean destination on or in /proc, lxcfs' places apart, and the root itself.

    Raises:
        SetupError: it is one.
    """
    if destination == "/":
        raise LeadsToRoot(destination)
    if destination == "/proc" or (destination.startswith("/proc/") and destination not in LXCFS):
        raise SetupError(f'nothing is mounted or unmounted at "{destination}" while it is in use')


def finish_outside(entry: Entry, tree_fd: int, *, keep: bool) -> None:
    """Set what the entry asks for on a detached copy of its source; `keep` as in set_attributes."""
    set_attributes(tree_fd, entry.options, keep=keep)
    finish(tree_fd, entry.options)


def make_outside(entry: Entry) -> int:
    """Make the entry's file system and a detached mount of it. The caller closes it."""
    return _make(entry, entry.options.data)


def place(root_fd: int, own_fds: int, entry: Entry, mount_fd: int) -> None:
    """Attach the detached mount `mount_fd` (borrowed) at the entry's destination.

    `own_fds` as for `detach`.

    Raises:
        SetupError: the destination is not allowed.
    """
    if entry.options.bind:
        nofollow = entry.options.extra & DEST_NOFOLLOW != 0
        target_fd = open_bind_target(root_fd, entry.destination, mount_fd, nofollow)
    else:
        target_fd = open_directory(root_fd, entry.destination)[0]
    try:
        _refuse_covered_proc(own_fds, target_fd, entry.destination)
        attach(mount_fd, target_fd, entry.destination)
    finally:
        os.close(target_fd)


def place_new(root_fd: int, own_fds: int, entry: Entry, label: str) -> int:
    """Make a file system of MADE_INSIDE and attach it; return the mount, which the caller closes.

    `own_fds` as for `detach`.
    """
    data = entry.options.data
    if label and entry.fs_name not in UNLABELLED:
        data = [*data, label_option(label)]
    existed = False
    if entry.fs_name in ORDINARY:
        target_fd = open_ordinary_directory(root_fd, entry.destination, entry.fs_name)
    else:
        target_fd, existed = open_directory(root_fd, entry.destination)
    try:
        refuse_procfs(target_fd, entry.destination)
        _refuse_covered_proc(own_fds, target_fd, entry.destination)
        if existed and entry.fs_name == "tmpfs":
            data = with_mode(data, target_fd)
        mount_fd = _make(entry, data)
        try:
            attach(mount_fd, target_fd, entry.destination)
        except BaseException:
            os.close(mount_fd)
            raise
    finally:
        os.close(target_fd)
    return mount_fd


def _refuse_covered_proc(own_fds: int, target_fd: int, destination: str) -> None:
    """Refuse a target in /proc that is no procfs, because a mask is on it.

    Security: CVE-2019-16884. A link of the container's may have led there; refuse_procfs sees only
    what the mask is made of.
    """
    path = os.readlink(str(target_fd), dir_fd=own_fds)
    if path.startswith("/proc/") and destination not in LXCFS:
        raise SetupError(f'"{destination}" cannot be mounted because it is inside /proc')


def _make(entry: Entry, data: list[str]) -> int:
    attributes = entry.options.attr_set
    superblock = entry.options.superblock | attributes & MOUNT_ATTR_RDONLY
    mount_fd = make_filesystem(entry.fs_name, entry.source, attributes, superblock, data)
    try:
        finish(mount_fd, entry.options)
    except BaseException:
        os.close(mount_fd)
        raise
    return mount_fd


def open_mounted(root_fd: int, destination: str) -> int:
    """Open what is mounted at `destination`, for `detach`. The caller closes it.

    Security: through no link. The container could lead us to a mount that hides something from it.

    Raises:
        SetupError: a link is on the way, or nothing is mounted there.
    """
    with doing(f'opening "{destination}"'):
        try:
            fd = open_straight(root_fd, destination, os.O_PATH | os.O_NOFOLLOW)
        except OSError as error:
            if error.errno != ELOOP:
                raise
            message = f'"{destination}": a symbolic link is on the way, name the place itself'
            raise SetupError(message) from error
    with doing(f'looking at the mount at "{destination}"'):
        is_mounted = _is_mounted(root_fd, destination, fd)
    if not is_mounted:
        os.close(fd)
        raise SetupError(f'nothing is mounted at "{destination}"', EINVAL)
    return fd


def _is_mounted(root_fd: int, destination: str, fd: int) -> bool:
    """Return whether `fd`, found at a clean `destination`, is on another mount than its parent."""
    parent = destination.rpartition("/")[0]
    if not parent:
        return mount_id(fd) != mount_id(root_fd)
    with doing(f'opening "{parent}"'):
        parent_fd = open_straight(root_fd, parent, os.O_PATH)
    try:
        return mount_id(fd) != mount_id(parent_fd)
    finally:
        os.close(parent_fd)


def detach(own_fds: int, mount_fd: int) -> None:
    """Unmount, lazily, the very mount whose root `mount_fd` is, with all below.

    `own_fds` is a descriptor of our own /proc/self/fd, of a procfs that is to be trusted.

    Raises:
        OSError: EINVAL when it is no root of a mount, or not attached any more.
    """
    os.fchdir(own_fds)
    try:
        umount2(str(mount_fd), MNT_DETACH)
    finally:
        os.chdir("/")
