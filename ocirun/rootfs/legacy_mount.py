"""Mount entries of rarer kinds: remounts, copied links, options too long for fsconfig.

Loaded only when an entry needs it (mounts.load_for). Source: mount(2), fsconfig(2).
"""

from __future__ import annotations

import os
from errno import EINVAL

from ocirun.errors import SetupError
from ocirun.kernel.mount import (
    MOUNT_ATTR_NOATIME,
    MOUNT_ATTR_NODEV,
    MOUNT_ATTR_NODIRATIME,
    MOUNT_ATTR_NOEXEC,
    MOUNT_ATTR_NOSUID,
    MOUNT_ATTR_NOSYMFOLLOW,
    MOUNT_ATTR_RDONLY,
    MOUNT_ATTR_STRICTATIME,
    MS_NOATIME,
    MS_NODEV,
    MS_NODIRATIME,
    MS_NOEXEC,
    MS_NOSUID,
    MS_NOSYMFOLLOW,
    MS_RDONLY,
    MS_REMOUNT,
    MS_STRICTATIME,
    mount,
    mount_id,
    mount_setattr,
)
from ocirun.rootfs.filesystems import finish
from ocirun.rootfs.mountpoints import open_existing, refuse_procfs
from ocirun.rootfs.resolve import DIRECTORY, components, open_parent
from ocirun.spec.mount_options import REMOUNT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Final

    from ocirun.rootfs.context import Entry
    from ocirun.spec.mount_options import MountOptions

OLD_FLAGS: Final = (
    (MOUNT_ATTR_RDONLY, MS_RDONLY),
    (MOUNT_ATTR_NOSUID, MS_NOSUID),
    (MOUNT_ATTR_NODEV, MS_NODEV),
    (MOUNT_ATTR_NOEXEC, MS_NOEXEC),
    (MOUNT_ATTR_NOATIME, MS_NOATIME),
    (MOUNT_ATTR_STRICTATIME, MS_STRICTATIME),
    (MOUNT_ATTR_NODIRATIME, MS_NODIRATIME),
    (MOUNT_ATTR_NOSYMFOLLOW, MS_NOSYMFOLLOW),
)


class working_in:  # noqa: N801  # reads as a sentence: with working_in(directory_fd): …
    """Work in a directory, so that "." names it in a call that takes only paths; then go back."""

    __slots__ = ("directory_fd", "former_fd")

    def __init__(self, directory_fd: int) -> None:
        self.directory_fd = directory_fd
        self.former_fd = -1

    def __enter__(self) -> None:
        self.former_fd = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        os.fchdir(self.directory_fd)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.fchdir(self.former_fd)
        os.close(self.former_fd)


def remount_or_copy(root_fd: int, entry: Entry) -> bool:
    """Do an entry with "remount", or one with "copy-symlink" whose source is a symbolic link.

    Returns False when the source is no link after all: then it is an ordinary bind mount.
    """
    if entry.options.extra & REMOUNT:
        _remount(root_fd, entry.destination, entry.options)
        return True
    try:
        target = os.readlink(entry.source)
    except OSError as error:
        if error.errno != EINVAL:
            raise
        return False
    _copy_link(root_fd, entry.destination, target)
    return True


def mount_long(root_fd: int, target_fd: int, entry: Entry, data: list[str]) -> None:
    """Mount a file system the old way, for an option of more than 255 bytes (overlay's lowerdir).

    Kernel: mount(2) takes a page of options. Its target is ".", so that it is still `target_fd`.
    """
    options = entry.options
    refuse_procfs(target_fd, entry.destination)
    with working_in(target_fd):
        flags = old_flags(options.attr_set) | options.superblock
        mount(entry.source, ".", entry.fs_name, flags, ",".join(data))
    if not (options.propagation or options.rec_set | options.rec_clr):
        return
    # The call returns no descriptor of the new mount, so it is looked up; if a directory was
    # exchanged meanwhile, the result is an error and not a propagation.
    mount_fd = open_existing(root_fd, entry.destination, DIRECTORY)
    try:
        if mount_id(mount_fd) == mount_id(target_fd):
            raise SetupError(f'"{entry.destination}" changed while it was being mounted')
        finish(mount_fd, options)
    finally:
        os.close(mount_fd)


def old_flags(attributes: int) -> int:
    """Return the MS_* flags of mount(2) that mean the same as MOUNT_ATTR_* `attributes`."""
    flags = 0
    for attribute, flag in OLD_FLAGS:
        if attributes & attribute:
            flags |= flag
    return flags


def _remount(root_fd: int, destination: str, options: MountOptions) -> None:
    """Change what is mounted at `destination`: with "bind" its mount, else its file system too."""
    mount_fd = open_existing(root_fd, destination, os.O_PATH)
    try:
        if options.bind:
            mount_setattr(mount_fd, "", 0, options.attr_set, options.attr_clr)
        else:
            flags = MS_REMOUNT | old_flags(options.attr_set) | options.superblock
            with working_in(mount_fd):
                mount("", ".", "", flags, ",".join(options.data))
        finish(mount_fd, options)
    finally:
        os.close(mount_fd)


def _copy_link(root_fd: int, destination: str, target: str) -> None:
    """Make the symbolic link `destination` -> `target` inside the root, or find it there."""
    parts = components(destination)
    parent_fd = open_parent(root_fd, parts)
    try:
        try:
            os.symlink(target, parts[-1], dir_fd=parent_fd)
        except FileExistsError:
            try:
                same = os.readlink(parts[-1], dir_fd=parent_fd) == target
            except OSError:
                same = False
            if not same:
                raise
    finally:
        os.close(parent_fd)
