"""Mounting by descriptor: the mount calls of Linux 5.12 and later, one function per man page.

A mount is made detached, given its attributes, and attached where a descriptor points: between
the check of a destination and its use there is no path that could be exchanged. Every descriptor
is close-on-exec; those returned are closed by the caller. Every failure is the plain OSError of its
errno, with the call as a note.

Source: open_tree(2), move_mount(2), fsopen(2), fsconfig(2), fsmount(2), mount_setattr(2), mount(2),
umount(2), pivot_root(2), statfs(2), statx(2); linux/mount.h for the values.
"""

from __future__ import annotations

import os

from ocirun.kernel._native import ffi, lib
from ocirun.kernel.oserror import encoded, oserror

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

AT_FDCWD: Final = -100
AT_SYMLINK_NOFOLLOW: Final = 0x100
AT_EMPTY_PATH: Final = 0x1000
AT_RECURSIVE: Final = 0x8000

OPEN_TREE_CLONE: Final = 1
OPEN_TREE_CLOEXEC: Final = os.O_CLOEXEC

MOVE_MOUNT_F_EMPTY_PATH: Final = 0x04
MOVE_MOUNT_T_EMPTY_PATH: Final = 0x40

FSOPEN_CLOEXEC: Final = 1
FSMOUNT_CLOEXEC: Final = 1
FSCONFIG_SET_FLAG: Final = 0
FSCONFIG_SET_STRING: Final = 1
FSCONFIG_CMD_CREATE: Final = 6
# Kernel: fsconfig copies at most 256 bytes with the NUL, else EINVAL.
FSCONFIG_STRING_MAX: Final = 255

MOUNT_ATTR_RDONLY: Final = 0x1
MOUNT_ATTR_NOSUID: Final = 0x2
MOUNT_ATTR_NODEV: Final = 0x4
MOUNT_ATTR_NOEXEC: Final = 0x8
# An enumeration, not bits; relatime is 0.
MOUNT_ATTR__ATIME: Final = 0x70
MOUNT_ATTR_NOATIME: Final = 0x10
MOUNT_ATTR_STRICTATIME: Final = 0x20
MOUNT_ATTR_NODIRATIME: Final = 0x80
MOUNT_ATTR_IDMAP: Final = 0x100000
MOUNT_ATTR_NOSYMFOLLOW: Final = 0x200000  # Kernel: from 5.14; EINVAL before

MS_RDONLY: Final = 1
MS_NOSUID: Final = 2
MS_NODEV: Final = 4
MS_NOEXEC: Final = 8
MS_SYNCHRONOUS: Final = 0x10
MS_REMOUNT: Final = 0x20
MS_MANDLOCK: Final = 0x40
MS_DIRSYNC: Final = 0x80
MS_NOSYMFOLLOW: Final = 0x100
MS_NOATIME: Final = 0x400
MS_NODIRATIME: Final = 0x800
MS_UNBINDABLE: Final = 1 << 17
MS_PRIVATE: Final = 1 << 18
MS_SLAVE: Final = 1 << 19
MS_SHARED: Final = 1 << 20
MS_STRICTATIME: Final = 1 << 24
MS_LAZYTIME: Final = 1 << 25

MNT_DETACH: Final = 2

# Of statfs(2); for the first four the same bits as MOUNT_ATTR_*.
ST_NOATIME: Final = 0x400
ST_NODIRATIME: Final = 0x800
ST_RELATIME: Final = 0x1000

PROC_SUPER_MAGIC: Final = 0x9FA0
SYSFS_MAGIC: Final = 0x62656572

_BY_DESCRIPTORS: Final = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH


def open_tree(dir_fd: int, path: str, flags: int) -> int:
    """Open a mount, or with OPEN_TREE_CLONE a detached copy of it (a bind mount to be).

    An empty `path` means what `dir_fd` itself stands for. Returns a descriptor the caller closes;
    closing a copy that was not attached dissolves it.
    """
    if not path:
        flags |= AT_EMPTY_PATH
    fd: int = lib.sys_open_tree(dir_fd, encoded(path), flags | OPEN_TREE_CLOEXEC)
    if fd < 0:
        raise oserror(ffi.errno, f"open_tree({dir_fd}, {path!r}, {flags:#x})", path or None)
    return fd


def move_mount(mount_fd: int, target_fd: int) -> None:
    """Attach the mount of `mount_fd` (detached or not) at the file of `target_fd`.

    Both descriptors stay the caller's; `mount_fd` from now on is the root of the attached mount.
    """
    if lib.sys_move_mount(mount_fd, b"", target_fd, b"", _BY_DESCRIPTORS) < 0:
        call = f'move_mount({mount_fd}, "", {target_fd}, "", {_BY_DESCRIPTORS:#x})'
        raise oserror(ffi.errno, call)


def fsopen(fs_name: str) -> int:
    """Begin a file system of type `fs_name`. Returns a context descriptor the caller closes.

    Raises:
        OSError: ENODEV when the kernel does not know the type.
    """
    fd: int = lib.sys_fsopen(encoded(fs_name), FSOPEN_CLOEXEC)
    if fd < 0:
        raise oserror(ffi.errno, f"fsopen({fs_name!r}, FSOPEN_CLOEXEC)")
    return fd


def fsconfig_string(fs_fd: int, key: str, value: str) -> None:
    """Set the option `key=value` of a context; at most FSCONFIG_STRING_MAX bytes of value."""
    data = encoded(value)
    if lib.sys_fsconfig(fs_fd, FSCONFIG_SET_STRING, encoded(key), data, 0) < 0:
        raise _with_log(fs_fd, ffi.errno, f"fsconfig({fs_fd}, SET_STRING, {key!r}, {value!r})")


def fsconfig_flag(fs_fd: int, key: str) -> None:
    """Set the flag `key` of a context."""
    if lib.sys_fsconfig(fs_fd, FSCONFIG_SET_FLAG, encoded(key), ffi.NULL, 0) < 0:
        raise _with_log(fs_fd, ffi.errno, f"fsconfig({fs_fd}, SET_FLAG, {key!r})")


def fsconfig_create(fs_fd: int) -> None:
    """Create the superblock from the options set so far."""
    if lib.sys_fsconfig(fs_fd, FSCONFIG_CMD_CREATE, ffi.NULL, ffi.NULL, 0) < 0:
        raise _with_log(fs_fd, ffi.errno, f"fsconfig({fs_fd}, CMD_CREATE)")


def fsmount(fs_fd: int, attributes: int) -> int:
    """Make a detached mount of the created superblock with MOUNT_ATTR_* `attributes`.

    Returns a descriptor the caller closes: the root of the mount, as if opened with O_PATH.
    """
    fd: int = lib.sys_fsmount(fs_fd, FSMOUNT_CLOEXEC, attributes)
    if fd < 0:
        raise _with_log(fs_fd, ffi.errno, f"fsmount({fs_fd}, FSMOUNT_CLOEXEC, {attributes:#x})")
    return fd


def mount_setattr(
    dir_fd: int,
    path: str,
    flags: int,
    attr_set: int = 0,
    attr_clr: int = 0,
    *,
    propagation: int = 0,
    userns_fd: int = 0,
) -> None:
    """Change attributes or propagation of the mount whose root is `path` under `dir_fd`.

    What is in neither mask stays as it is. `flags` may hold AT_RECURSIVE; an empty `path` means
    `dir_fd` itself. `propagation` is 0 or one of MS_PRIVATE, MS_SLAVE, MS_SHARED, MS_UNBINDABLE.

    Raises:
        OSError: EINVAL when it is not the root of a mount; EPERM for a flag that an outer user
            namespace has locked; EBUSY for MOUNT_ATTR_RDONLY while files are open for writing.
    """
    if not path:
        flags |= AT_EMPTY_PATH
    if (
        lib.sys_mount_setattr(
            dir_fd, encoded(path), flags, attr_set, attr_clr, propagation, userns_fd
        )
        < 0
    ):
        attributes = (
            f"{{attr_set={attr_set:#x}, attr_clr={attr_clr:#x}, propagation={propagation:#x}}}"
        )
        call = f"mount_setattr({dir_fd}, {path!r}, {flags:#x}, {attributes})"
        raise oserror(ffi.errno, call, path or None)


def mount(source: str, target: str, fs_type: str, flags: int, data: str) -> None:
    """Mount by path, with the old call: only for what the new calls cannot express."""
    result = lib.mount(encoded(source), encoded(target), encoded(fs_type), flags, encoded(data))
    if result < 0:
        call = f"mount({source!r}, {target!r}, {fs_type!r}, {flags:#x}, {data!r})"
        raise oserror(ffi.errno, call, target)


def umount2(target: str, flags: int) -> None:
    """Unmount the topmost mount at `target`."""
    if lib.umount2(encoded(target), flags) < 0:
        raise oserror(ffi.errno, f"umount2({target!r}, {flags:#x})", target)


def pivot_root(new_root: str, put_old: str) -> None:
    """Make `new_root` the root of this mount namespace; the old root moves to `put_old`."""
    if lib.sys_pivot_root(encoded(new_root), encoded(put_old)) < 0:
        raise oserror(ffi.errno, f"pivot_root({new_root!r}, {put_old!r})", new_root)


def mount_id(fd: int) -> int:
    """Return the number of the mount that `fd` lies on, as in /proc/self/mountinfo."""
    number: int = lib.sys_mount_id(fd)
    if number < 0:
        raise oserror(ffi.errno, f'statx({fd}, "", AT_EMPTY_PATH, STATX_MNT_ID)')
    return number


def magic_of(fd: int) -> int:
    """Return the magic number of the file system that `fd` lies on, as fstatfs(2) does."""
    magic: int = lib.sys_magic(fd)
    if magic < 0:
        raise oserror(ffi.errno, f"fstatfs({fd})")
    return magic


def fstatfs(fd: int) -> tuple[int, int]:
    """Return the magic number of the file system `fd` lies on, and its ST_* mount flags."""
    words = ffi.new("int64_t[2]")
    if lib.sys_fstatfs(fd, words) < 0:
        raise oserror(ffi.errno, f"fstatfs({fd})")
    return words[0], words[1]


def _with_log(fs_fd: int, errno: int, call: str) -> OSError:
    """Return the error of a context call, with the messages in the log of the context.

    Kernel: a read of the context yields one message each, "e text" for errors, then ENODATA.
    """
    error = oserror(errno, call)
    said: list[str] = []
    try:
        while len(said) < 8:
            said.append(os.read(fs_fd, 4096)[2:].decode("utf-8", "replace").strip())
    except OSError:
        pass  # ENODATA: no more; and a log that cannot be read must not hide the error itself
    if said:
        error.strerror = f"{error.strerror} ({'; '.join(said)})"
    return error
