"""New file systems and copies of mounts, detached: made whole before anybody can see them.

Source: fsopen(2), fsconfig(2), fsmount(2), open_tree(2), mount_setattr(2).
"""

from __future__ import annotations

import os
from errno import EINVAL, EPERM

from ocirun.errors import kernel_words
from ocirun.kernel.mount import (
    AT_RECURSIVE,
    FSCONFIG_STRING_MAX,
    MOUNT_ATTR_NODEV,
    MOUNT_ATTR_NOEXEC,
    MOUNT_ATTR_NOSUID,
    MOUNT_ATTR_NOSYMFOLLOW,
    MOUNT_ATTR_RDONLY,
    MS_DIRSYNC,
    MS_LAZYTIME,
    MS_MANDLOCK,
    MS_RDONLY,
    MS_SYNCHRONOUS,
    OPEN_TREE_CLONE,
    fsconfig_create,
    fsconfig_flag,
    fsconfig_string,
    fsmount,
    fsopen,
    fstatfs,
    mount_setattr,
    move_mount,
    open_tree,
)
from ocirun.kernel.oserror import oserror
from ocirun.rootfs.mountpoints import is_directory, refuse_procfs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from ocirun.spec.mount_options import MountOptions

SUPERBLOCK_OPTIONS: Final = (
    (MS_RDONLY, "ro"),
    (MS_SYNCHRONOUS, "sync"),
    (MS_DIRSYNC, "dirsync"),
    (MS_MANDLOCK, "mand"),
    (MS_LAZYTIME, "lazytime"),
)

# What a bind mount with options of its own does not take over from its source (see set_attributes).
REPLACED: Final = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC

# What the kernel may lock on a mount, beside access times. ST_* of statfs(2) are the same bits.
LOCKABLE: Final = (
    (MOUNT_ATTR_RDONLY, "MS_RDONLY"),
    (MOUNT_ATTR_NOSUID, "MS_NOSUID"),
    (MOUNT_ATTR_NODEV, "MS_NODEV"),
    (MOUNT_ATTR_NOEXEC, "MS_NOEXEC"),
)
LOCKED: Final = "cannot clear locked flags"


def make_filesystem(
    fs_name: str, source: str, attributes: int, superblock: int, data: list[str]
) -> int:
    """Make a file system and a detached mount of it.

    `source` shows in mountinfo ("" for none); `attributes` are MOUNT_ATTR_*; `superblock` MS_* of
    SUPERBLOCK_OPTIONS; `data` its own options, "key=value" or a bare word. Returns a descriptor of
    the mount's root, which the caller closes.

    Raises:
        OSError: what the kernel refused, with the file system's own words if it left any.
    """
    fs_fd = fsopen(fs_name)
    try:
        if source:
            fsconfig_string(fs_fd, "source", source)
        if superblock:
            for flag, word in SUPERBLOCK_OPTIONS:
                if superblock & flag:
                    fsconfig_flag(fs_fd, word)
        for option in data:
            key, equals, value = option.partition("=")
            if equals:
                fsconfig_string(fs_fd, key, _unquoted(key, value))
            else:
                fsconfig_flag(fs_fd, key)
        fsconfig_create(fs_fd)
        return fsmount(fs_fd, attributes)
    finally:
        os.close(fs_fd)


def label_option(label: str) -> str:
    """Return the option that labels a file system for SELinux, quoted: a label may have commas."""
    return f'context="{label}"'


def _unquoted(key: str, value: str) -> str:
    """Take off the quotes of a label, which only mount(2) and its joined options need."""
    if key.endswith("context") and len(value) > 1 and value[0] == value[-1] == '"':
        return value[1:-1]
    return value


def fits_fsconfig(data: list[str]) -> bool:
    """Return whether every value is short enough for fsconfig; an overlay's lowerdir may not be."""
    for option in data:
        if len(option) * 4 > FSCONFIG_STRING_MAX:  # a character has four bytes at most
            value = option.partition("=")[2]
            if len(os.fsencode(value)) > FSCONFIG_STRING_MAX:
                return False
    return True


def set_attributes(
    tree_fd: int, options: MountOptions, held_back: int = 0, *, keep: bool = False
) -> None:
    """Set on the detached copy of a mount the attributes its entry asks for, except `held_back`.

    Without any such option it keeps those of its source. With one it has just those, as runc's
    remount of a bind has; only what an outer user namespace has locked on the source stays too,
    or, with `keep` (a copy from outside, which carries no locks), all that it does not mention.

    Raises:
        OSError: EPERM when an option asks to clear a locked attribute; the words name it.
    """
    if not options.attr_set | options.attr_clr:
        return
    attr_set = options.attr_set & ~held_back
    if not keep:
        for replaced in (REPLACED | MOUNT_ATTR_NOSYMFOLLOW, REPLACED):
            try:
                mount_setattr(tree_fd, "", 0, attr_set, options.attr_clr | replaced & ~attr_set)
            except OSError as error:
                if error.errno == EPERM:
                    break  # something is locked: what is not mentioned stays
                # Kernel: nosymfollow is EINVAL before 5.14.
                if error.errno != EINVAL or replaced == REPLACED:
                    raise
            else:
                return
    _set_unless_locked(tree_fd, 0, attr_set, options.attr_clr)


def _set_unless_locked(mount_fd: int, flags: int, attr_set: int, attr_clr: int) -> None:
    try:
        mount_setattr(mount_fd, "", flags, attr_set, attr_clr)
    except OSError as error:
        if error.errno == EPERM:
            given = fstatfs(mount_fd)[1]
            lost = sum(bit for bit, _ in LOCKABLE if given & attr_clr & bit)
            error.strerror = f"{locked_words(lost) or LOCKED}: {kernel_words(error)}"
        raise


def locked_words(attributes: int) -> str:
    """Return runc's message about locked flags that cannot be cleared; "" for none."""
    names = [name for bit, name in LOCKABLE if attributes & bit]
    return f"{LOCKED} {'|'.join(names)}" if names else ""


def attach(mount_fd: int, target_fd: int, destination: str, *, is_procfs: bool = False) -> None:
    """Attach a detached mount on `target_fd`, which was opened for `destination`.

    Raises:
        SetupError: the target lies in a procfs (mountpoints.refuse_procfs).
        OSError: ENOTDIR when one is a directory and the other is not; what move_mount says else.
    """
    refuse_procfs(target_fd, destination, is_procfs=is_procfs)
    try:
        move_mount(mount_fd, target_fd)
    except OSError as error:
        if error.errno == EINVAL and is_directory(mount_fd) != is_directory(target_fd):
            raise oserror(20, f"move_mount({mount_fd}, {target_fd})") from error
        raise


def attach_copy(source_fd: int, target_fd: int, flags: int = 0, attributes: int = 0) -> None:
    """Mount a copy of what `source_fd` stands for on `target_fd`; both are borrowed.

    `flags`: AT_RECURSIVE for all that is mounted below it as well. `attributes`: MOUNT_ATTR_* to be
    set on the copy itself. Where the target may lie is for the caller to know.
    """
    tree_fd = open_tree(source_fd, "", OPEN_TREE_CLONE | flags)
    try:
        if attributes:
            mount_setattr(tree_fd, "", 0, attributes)
        move_mount(tree_fd, target_fd)
    finally:
        os.close(tree_fd)


def finish(mount_fd: int, options: MountOptions) -> None:
    """Apply what reaches below an attached mount: recursive attributes, then propagation."""
    if options.rec_set | options.rec_clr:
        _set_unless_locked(mount_fd, AT_RECURSIVE, options.rec_set, options.rec_clr)
    for kind, recursive in options.propagation:
        mount_setattr(mount_fd, "", AT_RECURSIVE if recursive else 0, propagation=kind)
