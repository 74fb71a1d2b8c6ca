"""One entry of `mounts`: from its words to an attached mount.

Each entry is read (spec/mount_options.py), made detached (filesystems.py, or source_trees.py for a
bind mount), and attached on its destination's descriptor (mountpoints.py).

Source: runtime-spec config.md#mounts.
"""

from __future__ import annotations

import os
from errno import ENODEV, ENOTDIR, EPERM

from ocirun.errors import Problem, UnsupportedError, doing
from ocirun.kernel.mount import (
    MOUNT_ATTR_RDONLY,
    PROC_SUPER_MAGIC,
    SYSFS_MAGIC,
    magic_of,
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
    open_bind_target,
    open_directory,
    open_ordinary_directory,
    refuse_proc,
)
from ocirun.rootfs.source_trees import take_source
from ocirun.spec.mount_options import (
    COPY_SYMLINK,
    DEST_NOFOLLOW,
    REMOUNT,
    TMPCOPYUP,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from ocirun.rootfs.context import Entry, MountContext

# Only on a directory that no link leads to.
ORDINARY: Final = {"proc": PROC_SUPER_MAGIC, "sysfs": SYSFS_MAGIC}
UNLABELLED: Final = ("proc", "sysfs", "mqueue")  # refuse SELinux' context=


def load_for(entries: list[Entry]) -> None:
    """Import what these entries need beyond this module. Order: before init's import seal."""
    for entry in entries:
        extra = entry.options.extra
        if entry.fs_name == "cgroup":
            import ocirun.rootfs.cgroupfs
        if extra & TMPCOPYUP:
            import ocirun.rootfs.copyup
        if extra & (REMOUNT | COPY_SYMLINK) or not fits_fsconfig(entry.options.data):
            import ocirun.rootfs.legacy_mount
        if entry.is_idmapped:
            import ocirun.rootfs.id_maps  # noqa: F401


def mount_entry(root_fd: int, entry: Entry, context: MountContext) -> None:
    """Do one entry of `mounts`.

    Descriptors are borrowed, except the entry's source in `context.source_fds`, which is used up.

    Raises:
        SetupError: the destination is not allowed, or the kernel refused; the message says what.
        UnsupportedError: an id-mapped mount of a kind that is not done here.
    """
    with doing(f'mounting "{entry.source or entry.fs_name}" to rootfs at "{entry.destination}"'):
        try:
            _do(root_fd, entry, context)
        except OSError as error:
            hint = _hint(error, entry, context)
            if hint:
                error.strerror = f"{error.strerror} ({hint})"
            raise


def _do(root_fd: int, entry: Entry, context: MountContext) -> None:
    extra = entry.options.extra
    if extra & REMOUNT or (extra & COPY_SYMLINK and entry.options.bind):
        from ocirun.rootfs.legacy_mount import remount_or_copy

        if remount_or_copy(root_fd, entry):
            return
    if entry.options.bind:
        _bind(root_fd, entry, context)
    elif entry.fs_name == "cgroup":
        from ocirun.rootfs.cgroupfs import mount_cgroup

        mount_cgroup(root_fd, entry, context)
    elif entry.is_idmapped:
        message = "only bind mounts can be id-mapped"
        raise UnsupportedError([Problem(f"/mounts/{entry.index}", message)])
    else:
        _filesystem(root_fd, entry, context)


def _bind(root_fd: int, entry: Entry, context: MountContext) -> None:
    """Attach a copy of the source's mount. Options of file systems are ignored, as by mount(2)."""
    options = entry.options
    tree_fd, keep = take_source(root_fd, entry, context)
    try:
        magic = magic_of(tree_fd)
        refuse_proc(entry.destination, magic == PROC_SUPER_MAGIC)
        set_attributes(tree_fd, options, _held_back(entry), keep=keep)
        nofollow = options.extra & DEST_NOFOLLOW != 0
        start_fd, below = context.kernel_mounts.start_of(root_fd, entry.destination, above=True)
        target_fd = open_bind_target(start_fd, below, tree_fd, nofollow)
        try:
            tree_fd = _attach(tree_fd, target_fd, entry, context, magic)
        finally:
            os.close(target_fd)
    finally:
        if tree_fd >= 0:
            os.close(tree_fd)


def _filesystem(root_fd: int, entry: Entry, context: MountContext) -> None:
    """Mount a new file system of the entry's type."""
    refuse_proc(entry.destination, entry.fs_name == "proc")
    data = entry.options.data
    if context.mount_label and entry.fs_name not in UNLABELLED:
        data = [*data, label_option(context.mount_label)]
    start_fd, below = context.kernel_mounts.start_of(root_fd, entry.destination, above=True)
    if entry.fs_name in ORDINARY:
        target_fd = open_ordinary_directory(start_fd, below, entry.fs_name)
    else:
        target_fd, existed = open_directory(start_fd, below)
        if entry.fs_name == "tmpfs" and existed:
            data = with_mode(data, target_fd)
    try:
        if fits_fsconfig(data):
            _attach_filesystem(target_fd, entry, data, context)
        else:
            from ocirun.rootfs.legacy_mount import mount_long

            mount_long(root_fd, target_fd, entry, data)
    finally:
        os.close(target_fd)


def _attach_filesystem(
    target_fd: int, entry: Entry, data: list[str], context: MountContext
) -> None:
    """Make the entry's file system with the options `data` and attach it on `target_fd`."""
    options, fs_name = entry.options, entry.fs_name
    attributes = options.attr_set & ~_held_back(entry)
    # MS_RDONLY has the same bit: mount(2) makes mount and superblock read-only, so do we.
    superblock = options.superblock | attributes & MOUNT_ATTR_RDONLY
    mount_fd = make_filesystem(fs_name, entry.source, attributes, superblock, data)
    try:
        if options.extra & TMPCOPYUP and fs_name == "tmpfs":
            from ocirun.rootfs.copyup import copy_up

            copy_up(target_fd, mount_fd)
        magic = ORDINARY.get(fs_name, 0)
        mount_fd = _attach(mount_fd, target_fd, entry, context, magic)
    finally:
        if mount_fd >= 0:
            os.close(mount_fd)


def _attach(mount_fd: int, target_fd: int, entry: Entry, context: MountContext, magic: int) -> int:
    """Attach the entry's mount, a file system of type `magic` (0: neither procfs nor sysfs).

    Returns `mount_fd` for the caller to close, or -1 where `context` keeps it for later.
    """
    options = entry.options
    attach(mount_fd, target_fd, entry.destination, is_procfs=magic == PROC_SUPER_MAGIC)
    if context.mount_label and entry.fs_name == "mqueue" and not options.bind:
        _label(mount_fd, context.mount_label)
    finish(mount_fd, options)
    if _held_back(entry) & options.attr_set:
        context.deferred.append((mount_fd, entry.destination))
        return -1
    held = context.kernel_mounts.attached(mount_fd, magic, entry.destination, target_fd)
    return -1 if held else mount_fd


def _held_back(entry: Entry) -> int:
    """Return the attributes that finalize sets: /dev and every tmpfs are written to until then."""
    is_written = entry.destination == "/dev" or (
        entry.fs_name == "tmpfs" and not entry.options.bind
    )
    return MOUNT_ATTR_RDONLY if is_written else 0


def with_mode(data: list[str], target_fd: int) -> list[str]:
    """Set a tmpfs to the mode of the directory it covers, unless the entry names one."""
    for option in data:
        if option.startswith("mode="):
            return data
    return [f"mode={os.fstat(target_fd).st_mode & 0o7777:04o}", *data]


def _label(mount_fd: int, label: str) -> None:
    """Set the SELinux label of a mounted root that takes it as a file attribute only."""
    fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=mount_fd)
    try:
        os.setxattr(fd, "security.selinux", os.fsencode(label))
    finally:
        os.close(fd)


def _hint(error: OSError, entry: Entry, context: MountContext) -> str:
    """Return what would help, when that is certain."""
    bind, fs_name = entry.options.bind, entry.fs_name
    if error.errno == ENODEV and fs_name == "bind":
        return 'a bind mount needs the option "bind" or "rbind"; its type has no meaning'
    if error.errno == ENODEV and "fsopen" in str(getattr(error, "__notes__", "")):
        missing = f'this kernel knows no file system "{fs_name}"'
        return f'{missing}; a bind mount needs the option "bind"' if fs_name == "none" else missing
    if error.errno == EPERM and fs_name == "sysfs" and context.userns and not bind:
        return "a user namespace needs its own network namespace to mount sysfs; bind /sys instead"
    if error.errno == ENOTDIR and bind:
        return "are you trying to mount a directory onto a file or the other way round?"
    return ""
