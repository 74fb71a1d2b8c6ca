"""tmpcopyup: a tmpfs that begins with a copy of the directory it covers.

The copy is made while the tmpfs is detached: no process sees it half-made, and the host needs no
scratch directory. Loaded only when an entry asks for it (mounts.load_for).

Security: a process that shares the covered directory may exchange what is in it at any time. Each
name is opened once, with O_PATH, which reads nothing and has no effect on a device; the type of
what was opened decides, and only a regular file is opened for reading, by that descriptor.
"""

from __future__ import annotations

import os
import stat
from errno import ENODATA, ENOTSUP, EPERM

from ocirun.errors import SetupError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

CHUNK_BYTES: Final = 1 << 20
LOOKING: Final = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
READING: Final = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
WRITING: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
ENTERING: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def copy_up(covered_fd: int, mount_fd: int) -> None:
    """Copy all below the directory `covered_fd` to the root of the mount `mount_fd`.

    Both are borrowed O_PATH descriptors. Types, modes, owners, times and extended attributes are
    kept as far as the tmpfs knows them; sockets are left out, hard links become separate files. The
    root of the mount itself stays what its options made it.

    Raises:
        SetupError: somebody moved a directory, or exchanged a file, while it was copied.
        OSError: reading or writing failed; ENOSPC when the tmpfs is too small.
    """
    with _Walk(covered_fd, mount_fd) as walk:
        while True:
            if walk.names:
                _copy(walk, walk.names.pop())
            elif walk.is_at_top:
                return
            else:
                _copy_attributes(walk.source_fd, walk.copy_fd)
                walk.leave()


class _Walk:
    """A directory of the source and its copy, and the way back up from both.

    Two descriptors whatever the depth: the way up is "..", and the source's is compared with what
    it was on the way down. `names` are those still to be copied here.
    """

    __slots__ = ("_above", "copy_fd", "names", "source_fd")

    def __init__(self, covered_fd: int, mount_fd: int) -> None:
        self.source_fd = os.open(".", ENTERING, dir_fd=covered_fd)
        try:
            self.copy_fd = os.open(".", ENTERING, dir_fd=mount_fd)
        except BaseException:
            os.close(self.source_fd)
            raise
        self.names = os.listdir(self.source_fd)
        self._above: list[tuple[tuple[int, int], list[str]]] = []

    @property
    def is_at_top(self) -> bool:
        """Whether this is the covered directory itself."""
        return not self._above

    def enter(self, found_fd: int, name: str) -> None:
        """Go into the directory `found_fd` (borrowed) and into the copy of it, `name`."""
        self._above.append((_identity(self.source_fd), self.names))
        self._replace(os.open(".", ENTERING, dir_fd=found_fd), name)
        self.names = os.listdir(self.source_fd)

    def leave(self) -> None:
        """Go back up."""
        identity, self.names = self._above.pop()
        self._replace(os.open("..", ENTERING, dir_fd=self.source_fd), "..")
        if _identity(self.source_fd) != identity:
            raise SetupError("a directory was moved while tmpcopyup copied it")

    def _replace(self, source_fd: int, name: str) -> None:
        os.close(self.source_fd)
        self.source_fd = source_fd
        copy_fd = os.open(name, ENTERING, dir_fd=self.copy_fd)
        os.close(self.copy_fd)
        self.copy_fd = copy_fd

    def __enter__(self) -> _Walk:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.source_fd)
        os.close(self.copy_fd)


def _copy(walk: _Walk, name: str) -> None:
    """Copy one name of the walk's directory; a directory is entered."""
    to_fd = walk.copy_fd
    found_fd = os.open(name, LOOKING, dir_fd=walk.source_fd)
    try:
        found = os.fstat(found_fd)
        if stat.S_ISDIR(found.st_mode):
            os.mkdir(name, 0o700, dir_fd=to_fd)
            walk.enter(found_fd, name)
        elif stat.S_ISREG(found.st_mode):
            _copy_file(found_fd, name, to_fd)
        elif stat.S_ISLNK(found.st_mode):
            # Kernel: an empty path reads the link that the descriptor stands for.
            os.symlink(os.readlink("", dir_fd=found_fd), name, dir_fd=to_fd)
            os.chown(name, found.st_uid, found.st_gid, dir_fd=to_fd, follow_symlinks=False)
        elif not stat.S_ISSOCK(found.st_mode):
            os.mknod(name, found.st_mode, found.st_rdev, dir_fd=to_fd)
            # It cannot be a link: no other process can reach a detached mount.
            os.chown(name, found.st_uid, found.st_gid, dir_fd=to_fd)
            os.chmod(name, stat.S_IMODE(found.st_mode), dir_fd=to_fd)
    finally:
        os.close(found_fd)


def _copy_file(found_fd: int, name: str, to_fd: int) -> None:
    source_fd = _reopen(found_fd, name)
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


def _reopen(found_fd: int, name: str) -> int:
    """Open for reading the regular file that the O_PATH descriptor `found_fd` stands for.

    Kernel: there is no other way than the link of our own /proc, which is the host's until the
    pivot. The caller closes the result.
    """
    fd = os.open(f"/proc/self/fd/{found_fd}", READING)
    if _identity(fd) != _identity(found_fd):
        os.close(fd)
        raise SetupError(f'"{name}" was exchanged while tmpcopyup copied it')
    return fd


def _identity(fd: int) -> tuple[int, int]:
    found = os.fstat(fd)
    return found.st_dev, found.st_ino


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
