"""What the host has set on a mount stays set for a container with a user namespace.

The kernel locks the flags of every mount that it copies into a mount namespace of another user
namespace. The copies that the parent opens for init are made outside and carry no locks, so the
parent holds them to the same rule, and has the kernel lock them too: by way of a namespace that is
made for that. Loaded only where a source is opened for such a container.

Source: mount_namespaces(7), "Restrictions on mount namespaces";
docs/runc-compat/mounts.md#bind-mounts.
"""

from __future__ import annotations

import os
from errno import EPERM

from ocirun.errors import SetupError, doing
from ocirun.kernel.mount import (
    MOUNT_ATTR_NOATIME,
    MOUNT_ATTR_NODEV,
    MOUNT_ATTR_NODIRATIME,
    MOUNT_ATTR_NOEXEC,
    MOUNT_ATTR_NOSUID,
    MOUNT_ATTR_RDONLY,
    MOUNT_ATTR_STRICTATIME,
    ST_NOATIME,
    ST_NODIRATIME,
    ST_RELATIME,
    fstatfs,
    mount_id,
)
from ocirun.kernel.mountinfo import descendants, read_mountinfo
from ocirun.kernel.userns import lock_mounts
from ocirun.rootfs.filesystems import LOCKABLE, locked_words, make_filesystem
from ocirun.spec.mount_options import SRC_NOFOLLOW

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Final

    from ocirun.kernel.mountinfo import MountRow
    from ocirun.rootfs.context import Entry

ATIME_CHOICE: Final = 0x70  # Kernel: MOUNT_ATTR__ATIME; relatime is its 0
ALL_LOCKABLE: Final = sum(bit for bit, _ in LOCKABLE)
OPTIONS: Final = {
    "ro": MOUNT_ATTR_RDONLY,
    "nosuid": MOUNT_ATTR_NOSUID,
    "nodev": MOUNT_ATTR_NODEV,
    "noexec": MOUNT_ATTR_NOEXEC,
}


def refuse_unlocking(entry: Entry, tree_fd: int) -> None:
    """Refuse an entry that would clear flags of its source, or change its access times.

    `tree_fd` (borrowed) is a copy of the source's mount, before anything was changed on it.

    Raises:
        SetupError: it would; the message is runc's.
    """
    options = entry.options
    flags = fstatfs(tree_fd)[1]
    cleared = options.attr_clr | options.rec_clr
    lost = sum(bit for bit, _ in LOCKABLE if cleared & bit and flags & bit)
    below = options.rec_clr if options.recursive else 0
    if lost & MOUNT_ATTR_RDONLY or below:
        # statfs(2) calls a mount read-only whose file system is, and says nothing of those below.
        lost = _lost(entry, lost, below)
    what = locked_words(lost)
    if not what:
        given = _access_times(flags)
        for attr_set, attr_clr in (
            (options.attr_set, options.attr_clr),
            (options.rec_set, options.rec_clr),
        ):
            if _changes_access_times(given, attr_set, attr_clr):
                what = "cannot change locked atime flags"
    if what:
        place = f'mounting "{entry.source}" to rootfs at "{entry.destination}"'
        raise SetupError(f"{place}: {what}: operation not permitted", EPERM)


def lock_flags(entries: Iterable[Entry], fds: dict[int, int]) -> None:
    """Have the kernel lock what the host has set on the sources of `entries`.

    `fds`: index in `mounts` → detached copy; the numbers stay the same. Without locks the
    container's root could clear the flags by a remount, and so could an entry of the config.
    Sources with default flags and nothing mounted below are passed over: a lock would do nothing.

    Raises:
        SetupError: the kernel refused.
    """
    rows: list[MountRow] = []
    chosen = []
    for entry in entries:
        tree_fd = fds[entry.index]
        if _has_flags(tree_fd) or (entry.options.recursive and _mounts(entry, rows)[1]):
            chosen.append(tree_fd)
    if not chosen:
        return
    with doing("locking the flags of sources of bind mounts"):
        tmpfs_fd = make_filesystem("tmpfs", "", 0, 0, ["mode=0755", "size=64k"])
        try:
            lock_mounts(tmpfs_fd, chosen)
        finally:
            os.close(tmpfs_fd)


def _has_flags(tree_fd: int) -> bool:
    flags = fstatfs(tree_fd)[1]
    return flags & ALL_LOCKABLE != 0 or _access_times(flags) != (0, 0)


def _lost(entry: Entry, lost: int, below: int) -> int:
    """Return which flags of `lost` the source's mount has, and which of `below` those below it.

    Whoever exchanges the source meanwhile is on the host, and may write to it anyway.
    """
    own, inner = _mounts(entry, [])
    # A flag that is not the mount's own is not lost: clearing it changes nothing.
    return lost & _flags(own) | below & _flags(inner)


def _mounts(entry: Entry, rows: list[MountRow]) -> tuple[list[MountRow], list[MountRow]]:
    """Return the mount that the source is on, and those below the source.

    `rows` is filled with the mount table if it is empty.
    """
    nofollow = os.O_NOFOLLOW if entry.options.extra & SRC_NOFOLLOW else 0
    source_fd = os.open(entry.source, os.O_PATH | os.O_CLOEXEC | nofollow)
    try:
        number = mount_id(source_fd)
        path = os.readlink(f"/proc/self/fd/{source_fd}").rstrip("/")
    finally:
        os.close(source_fd)
    if not rows:
        rows += read_mountinfo()
    own = [row for row in rows if row.mount_id == number]
    inner = [row for row in descendants(rows, number) if row.point.startswith(f"{path}/")]
    return own, inner


def _flags(rows: list[MountRow]) -> int:
    return sum({bit for row in rows for name, bit in OPTIONS.items() if name in row.options})


def _access_times(flags: int) -> tuple[int, int]:
    """Return the access-time choice and MOUNT_ATTR_NODIRATIME of a mount with ST_* `flags`."""
    choice = 0 if flags & ST_RELATIME else MOUNT_ATTR_STRICTATIME
    if flags & ST_NOATIME:
        choice = MOUNT_ATTR_NOATIME
    return choice, MOUNT_ATTR_NODIRATIME if flags & ST_NODIRATIME else 0


def _changes_access_times(given: tuple[int, int], attr_set: int, attr_clr: int) -> bool:
    choice, directories = given
    if attr_clr & ATIME_CHOICE and attr_set & ATIME_CHOICE != choice:
        return True
    asked = (directories & ~attr_clr | attr_set) & MOUNT_ATTR_NODIRATIME
    return asked != directories
