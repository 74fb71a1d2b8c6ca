"""Make and append to the files of `--trace` and `trace view`.

Security: nobody's file is lost to a mistyped name or to a link: only a new file is made, or an
earlier trace (or page) of ours overwritten. A trace is opened anew for each piece that is written,
so that no descriptor of it is there when init is cloned or a hook is run.

Source: open(2).
"""

from __future__ import annotations

import os
import stat
from errno import EEXIST, ESTALE

from ocirun.errors import UsageError, kernel_words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

# O_NONBLOCK: a FIFO that took the file's place must not make us wait for a reader.
FLAGS: Final = os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
MODE: Final = 0o600  # paths and command lines are the owner's business


class OutputFile:
    """A file that was made by us, and is recognised, whatever its path leads to later.

    `begins` is what files of this kind begin with.
    """

    __slots__ = ("_known", "path")

    def __init__(self, path: str, begins: bytes) -> None:
        """Make the file at `path`, empty.

        Raises:
            UsageError: it cannot be made, or something else is there.
        """
        self.path = os.path.abspath(path)
        try:
            fd = _make(self.path, begins)
            try:
                self._known = _identity(os.fstat(fd))
            finally:
                os.close(fd)
        except OSError as error:
            raise UsageError(f"open {self.path}: {kernel_words(error)}") from error

    def append(self, data: bytes) -> None:
        """Append `data`.

        Raises:
            OSError: ESTALE, another file has taken its place; ENOSPC and others, as write(2).
        """
        fd = os.open(self.path, FLAGS | os.O_APPEND)
        try:
            # The size, because the number of a file that was removed is given to the next one.
            if _identity(os.fstat(fd)) != self._known:
                raise OSError(ESTALE, "another file has taken its place")
            try:
                while data:
                    data = data[os.write(fd, data) :]
            finally:
                self._known = _identity(os.fstat(fd))
        finally:
            os.close(fd)


def _make(path: str, begins: bytes) -> int:
    try:
        return os.open(path, FLAGS | os.O_CREAT | os.O_EXCL, MODE)
    except FileExistsError:
        pass
    # Order: looked at before it is opened, which may act on a device.
    path_fd = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        _require_own(os.fstat(path_fd))
        fd = os.open(f"/proc/self/fd/{path_fd}", os.O_RDWR | os.O_CLOEXEC)
    finally:
        os.close(path_fd)
    try:
        _empty(fd, begins)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _require_own(found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise OSError(EEXIST, "exists, and is not a regular file")
    if found.st_uid != os.geteuid() or found.st_nlink != 1:
        raise OSError(EEXIST, "exists, and is not a file of yours alone")


def _empty(fd: int, begins: bytes) -> None:
    """Empty the file, if it is of the kind that begins so."""
    if os.fstat(fd).st_size and os.pread(fd, len(begins), 0) != begins:
        raise OSError(EEXIST, "exists, and is none that ocirun wrote")
    os.ftruncate(fd, 0)


def _identity(found: os.stat_result) -> tuple[int, ...]:
    return found.st_dev, found.st_ino, found.st_uid, found.st_nlink, found.st_size
