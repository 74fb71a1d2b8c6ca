"""Where a mount entry goes: its destination opened, made when missing, refused when not allowed.

Source: runtime-spec config.md#mounts (destination); docs/runc-compat/mounts.md#destinations.
"""

from __future__ import annotations

import os
from errno import ELOOP
from posixpath import normpath

from ocirun.errors import SetupError
from ocirun.kernel.mount import PROC_SUPER_MAGIC, magic_of
from ocirun.rootfs.resolve import (
    DIRECTORY,
    is_same_place,
    make_file_in_root,
    make_missing,
    open_straight,
    open_through_links,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

PROC_ROOT_INODE: Final = 1  # Kernel: of the root of every procfs

# What lxcfs shows a container of /proc in place of the kernel's own; nothing else may be covered.
LXCFS: Final = {
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/loadavg",
    "/proc/meminfo",
    "/proc/slabinfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/sys/crypto/fips_enabled",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/uptime",
}


def clean(destination: str) -> str:
    """Return `destination` as an absolute path without "." and ".." and doubled slashes.

    Spec: a destination must be absolute; relative ones are read from the root, as runc does.
    """
    return normpath("/" + destination.lstrip("/"))


def below(place: str, path: str) -> str:
    """Return the rest of `path` as an absolute path if it lies at or below `place`, else "".

    Both are clean absolute paths.
    """
    if path == place:
        return "/"
    return path[len(place) :] if path.startswith(f"{place}/") else ""


def refuse_proc(destination: str, is_procfs: bool) -> None:
    """Refuse a clean `destination` in /proc unless it is one of lxcfs, or /proc for a procfs.

    Security: CVE-2019-16884: a volume over /proc makes writes of security labels land in a file.
    """
    if destination == "/proc":
        if not is_procfs:
            raise SetupError(f'"{destination}" cannot be mounted because it is not of type proc')
    elif destination.startswith("/proc/") and destination not in LXCFS:
        raise SetupError(f'"{destination}" cannot be mounted because it is inside /proc')


def refuse_procfs(target_fd: int, destination: str, *, is_procfs: bool = False) -> None:
    """Refuse to mount on `target_fd` if it lies in a procfs; asked of every target, once opened.

    Allowed are the files of lxcfs, and a procfs over the root of another at /proc.

    Security: CVE-2019-16884. The image, or who shares a volume, decides where `destination` leads,
    and may change it between any two looks.

    Raises:
        SetupError: it lies in one.
    """
    if magic_of(target_fd) != PROC_SUPER_MAGIC or destination in LXCFS:
        return
    if destination == "/proc" and is_procfs and os.fstat(target_fd).st_ino == PROC_ROOT_INODE:
        return
    raise SetupError(f'"{destination}" cannot be mounted because it is inside /proc')


def open_ordinary_directory(root_fd: int, destination: str, fs_name: str) -> int:
    """Open the directory for proc or sysfs, made if missing. Returns an O_PATH descriptor to close.

    Security: CVE-2019-19921, CVE-2023-27561: no link of the image may move /proc or /sys.

    Raises:
        SetupError: the path is no directory, or holds a symbolic link.
    """
    try:
        try:
            return open_straight(root_fd, destination, DIRECTORY)
        except FileNotFoundError:
            os.close(make_missing(root_fd, destination))
            # Opened again, for what counts is that the finished path holds no link.
            return open_straight(root_fd, destination, DIRECTORY)
    except OSError as error:
        if isinstance(error, NotADirectoryError) or error.errno == ELOOP:
            raise SetupError(
                f'filesystem "{fs_name}" must be mounted on ordinary directory'
            ) from error
        raise


def open_directory(root_fd: int, destination: str) -> tuple[int, bool]:
    """Open the directory for a file system, made if missing.

    Returns an O_PATH descriptor the caller closes, and whether the directory was there before.
    """
    try:
        return open_existing(root_fd, destination, DIRECTORY), True
    except FileNotFoundError:
        return make_missing(root_fd, destination), False


def open_bind_target(root_fd: int, destination: str, source_fd: int, nofollow: bool) -> int:
    """Open the place for a bind mount of `source_fd`; made if missing, as a directory or a file.

    With `nofollow` a symbolic link at the end is itself the place. The caller closes the result.
    """
    try:
        if nofollow:
            return open_through_links(root_fd, destination, os.O_PATH | os.O_NOFOLLOW)
        return open_existing(root_fd, destination, os.O_PATH)
    except FileNotFoundError:
        if is_directory(source_fd):
            return make_missing(root_fd, destination)
        return make_file_in_root(root_fd, destination)


def open_existing(root_fd: int, destination: str, flags: int) -> int:
    """Open what a clean `destination` leads to; the caller closes it.

    Raises:
        SetupError: a symbolic link leads into /proc, past the rules of refuse_proc.
    """
    try:
        return open_straight(root_fd, destination, flags)
    except OSError as error:
        if error.errno != ELOOP:
            raise
    fd = open_through_links(root_fd, destination, flags)
    try:
        _refuse_hidden_proc(root_fd, fd, destination)
    except BaseException:
        os.close(fd)
        raise
    return fd


def is_directory(fd: int) -> bool:
    """Return whether `fd` is a directory."""
    return os.fstat(fd).st_mode & 0o170000 == 0o040000


def _refuse_hidden_proc(root_fd: int, fd: int, destination: str) -> None:
    """Refuse `fd`, reached through links, if it lies in a procfs or is the root's /proc."""
    if magic_of(fd) == PROC_SUPER_MAGIC:
        raise SetupError(f'"{destination}" cannot be mounted because it is inside /proc')
    try:
        proc_fd = open_straight(root_fd, "/proc", os.O_PATH)
    except OSError:
        return  # no such place yet, so nothing can have led there
    try:
        if is_same_place(fd, proc_fd):
            raise SetupError(f'"{destination}" cannot be mounted because it is not of type proc')
    finally:
        os.close(proc_fd)
