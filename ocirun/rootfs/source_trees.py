"""Copies of what bind mounts show, detached: opened by the parent, or by init.

Source: open_tree(2), mount_setattr(2); docs/runc-compat/mounts.md.
"""

from __future__ import annotations

import os

from ocirun.errors import ProtocolError, doing
from ocirun.kernel.mount import (
    AT_FDCWD,
    AT_RECURSIVE,
    AT_SYMLINK_NOFOLLOW,
    MS_SLAVE,
    OPEN_TREE_CLONE,
    mount_setattr,
    open_tree,
)
from ocirun.rootfs.resolve import open_in_root
from ocirun.spec.mount_options import COPY_SYMLINK, REMOUNT, SRC_NOFOLLOW

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirun.rootfs.context import Entry, MountContext
    from ocirun.spec.mount_options import MountOptions


def open_source(entry: Entry, *, userns: bool) -> int | None:
    """Open a bind mount's source as a detached copy, for an init that may not; in the parent.

    `userns`: the container has a user namespace, so that the flags of the source are locked.
    Returns a descriptor the caller closes, or None for what init does itself: other kinds of
    entries, and links to be copied.

    Raises:
        SetupError: the source does not open, or the entry asks to clear a locked flag.
    """
    options = entry.options
    if not options.bind or options.extra & (REMOUNT | COPY_SYMLINK):
        return None
    with doing(f'opening "{entry.source}" to mount it on "{entry.destination}"'):
        tree_fd = open_tree(AT_FDCWD, entry.source, _tree_flags(options))
        try:
            if userns and options.changes_attributes:
                from ocirun.rootfs.locked_flags import refuse_unlocking  # cold

                refuse_unlocking(entry, tree_fd)
            # Copied in the host's mount namespace it is shared with the host's mounts; the kernel
            # makes slaves of those when it copies a namespace for another user, so do we.
            mount_setattr(tree_fd, "", AT_RECURSIVE, propagation=MS_SLAVE)
        except BaseException:
            os.close(tree_fd)
            raise
    return tree_fd


def take_source(root_fd: int, entry: Entry, context: MountContext) -> tuple[int, bool]:
    """Return a detached copy of a bind mount's source, which the caller closes; in init.

    And whether it carries no locks although the container has a user namespace: it comes from the
    parent, which has checked that no locked flag is to be cleared.
    """
    given_fd = context.source_fds.pop(entry.index, -1)
    if entry.index in context.late_sources:
        return _open_late_tree(root_fd, entry, context, given_fd), False
    if given_fd >= 0:
        return given_fd, context.userns
    if entry.is_idmapped:
        raise ProtocolError(f"the id-mapped source of mount {entry.index} was not opened for us")
    return open_tree(AT_FDCWD, entry.source, _tree_flags(entry.options)), False


def _open_late_tree(root_fd: int, entry: Entry, context: MountContext, userns_fd: int) -> int:
    """Copy a source that lies on a mount of an earlier entry, which only we can see.

    Security: looked for inside the root: what is on those mounts may be the container's own.
    `userns_fd`, -1 or used up, has the maps for the source's ids.
    """
    try:
        start_fd, path = context.kernel_mounts.start_of(root_fd, entry.source_in_root)
        nofollow = os.O_NOFOLLOW if entry.options.extra & SRC_NOFOLLOW else 0
        source_fd = open_in_root(start_fd, path, os.O_PATH | nofollow)
        try:
            flags = _tree_flags(entry.options) & ~AT_SYMLINK_NOFOLLOW
            tree_fd = open_tree(source_fd, "", flags)
        finally:
            os.close(source_fd)
        if userns_fd >= 0:
            from ocirun.rootfs.id_maps import map_ids

            map_ids(entry, tree_fd, userns_fd)
    finally:
        if userns_fd >= 0:
            os.close(userns_fd)
    return tree_fd


def _tree_flags(options: MountOptions) -> int:
    flags = OPEN_TREE_CLONE
    if options.recursive:
        flags |= AT_RECURSIVE
    if options.extra & SRC_NOFOLLOW:
        flags |= AT_SYMLINK_NOFOLLOW
    return flags
