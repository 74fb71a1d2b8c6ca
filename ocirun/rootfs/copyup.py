"""tmpcopyup: a tmpfs that begins with a copy of the directory it covers.

The copy is made while the tmpfs is detached, so nobody sees it half-made and no scratch directory
on the host is needed. Loaded only when an entry asks for it (mounts.load_for).
"""

from __future__ import annotations

import os
import stat
from errno import ENODATA, ENOTSUP, EPERM

CHUNK_BYTES = 1 << 20
READING = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
WRITING = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
ENTERING = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def copy_up(covered_fd: int, mount_fd: int) -> None:
    """Copy all below the directory `covered_fd` to the root of the mount `mount_fd`.

    Both are borrowed O_PATH descriptors. Types, modes, owners, times and extended attributes are
    kept as far as the tmpfs knows them; sockets are left out, hard links become separate files.
    """
    from_fd = os.open(".", ENTERING, dir_fd=covered_fd)
    try:
        to_fd = os.open(".", ENTERING, dir_fd=mount_fd)
        try:
            found = os.fstat(from_fd)
            os.fchown(to_fd, found.st_uid, found.st_gid)
            _copy_entries(from_fd, to_fd)
        finally:
            os.close(to_fd)
    finally:
        os.close(from_fd)


def _copy_entries(from_fd: int, to_fd: int) -> None:
    for name in os.listdir(from_fd):
        found = os.stat(name, dir_fd=from_fd, follow_symlinks=False)
        if stat.S_ISDIR(found.st_mode):
            _copy_directory(name, from_fd, to_fd)
        elif stat.S_ISREG(found.st_mode):
            _copy_file(name, from_fd, to_fd)
        elif stat.S_ISLNK(found.st_mode):
            os.symlink(os.readlink(name, dir_fd=from_fd), name, dir_fd=to_fd)
            os.chown(name, found.st_uid, found.st_gid, dir_fd=to_fd, follow_symlinks=False)
        elif not stat.S_ISSOCK(found.st_mode):
            os.mknod(name, found.st_mode, found.st_rdev, dir_fd=to_fd)
            # No link can be in the way: nobody else can reach a detached mount.
            os.chown(name, found.st_uid, found.st_gid, dir_fd=to_fd)
            os.chmod(name, stat.S_IMODE(found.st_mode), dir_fd=to_fd)


def _copy_directory(name: str, from_fd: int, to_fd: int) -> None:
    os.mkdir(name, 0o700, dir_fd=to_fd)
    source_fd = os.open(name, ENTERING, dir_fd=from_fd)
    try:
        copy_fd = os.open(name, ENTERING, dir_fd=to_fd)
        try:
            _copy_entries(source_fd, copy_fd)
            _copy_attributes(source_fd, copy_fd)
        finally:
            os.close(copy_fd)
    finally:
        os.close(source_fd)


def _copy_file(name: str, from_fd: int, to_fd: int) -> None:
    source_fd = os.open(name, READING, dir_fd=from_fd)
    try:
        copy_fd = os.open(name, WRITING, 0o600, dir_fd=to_fd)
        try:
            while chunk := os.read(source_fd, CHUNK_BYTES):
                while chunk:
                    chunk = chunk[os.write(copy_fd, chunk) :]
            _copy_attributes(source_fd, copy_fd)
        finally:
            os.close(copy_fd)
    finally:
        os.close(source_fd)


def _copy_attributes(source_fd: int, copy_fd: int) -> None:
    """Owner, mode, extended attributes, times: in the order in which none undoes another."""
    found = os.fstat(source_fd)
    os.fchown(copy_fd, found.st_uid, found.st_gid)
    os.fchmod(copy_fd, stat.S_IMODE(found.st_mode))
    for name in _attribute_names(source_fd):
        try:
            os.setxattr(copy_fd, name, os.getxattr(source_fd, name))
        except OSError as error:
            # tmpfs takes user.* from Linux 6.6; security.* may need rights we do not have.
            if error.errno not in (ENOTSUP, EPERM, ENODATA):
                raise
    os.utime(copy_fd, ns=(found.st_atime_ns, found.st_mtime_ns))


def _attribute_names(fd: int) -> list[str]:
    try:
        return os.listxattr(fd)
    except OSError as error:
        if error.errno != ENOTSUP:
            raise
        return []
