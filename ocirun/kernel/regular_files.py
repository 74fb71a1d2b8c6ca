"""Read files that others may have written: those of an image, a checkpoint, a record, a document.

It has to be a regular file, because opening a FIFO waits and opening a device may do something
(a watchdog starts to count), and no larger than its reader expects. Documents that a caller names
may come through a pipe. No cffi: `state` reads records.

Source: open(2), O_PATH.
"""

from __future__ import annotations

import os
import stat
from errno import EFBIG, EINVAL, EISDIR, EPIPE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

CHUNK_BYTES: Final = 1 << 18


def check_regular(fd: int, path: str) -> None:
    """Return where `fd` (borrowed, O_PATH will do) is open on a regular file.

    Raises:
        OSError: EINVAL, it is something else; its `filename` is `path`.
    """
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        raise OSError(EINVAL, "not a regular file", path)


def read_open(fd: int, most_bytes: int, path: str) -> bytes:
    """Return what the regular file that `fd` (borrowed) is open on holds, up to `most_bytes`.

    Raises:
        OSError: EINVAL, it is no regular file; EFBIG, it is larger; or as read(2).
    """
    check_regular(fd, path)
    data = bytearray()
    while piece := _read(fd, min(CHUNK_BYTES, most_bytes + 1 - len(data)), path):
        data += piece
    if len(data) > most_bytes:
        raise OSError(EFBIG, f"larger than {most_bytes} bytes", path)
    return bytes(data)


def _read(fd: int, size: int, path: str) -> bytes:
    try:
        return os.read(fd, size)
    except OSError as error:
        error.filename = path  # read(2) knows only a number
        raise


def open_regular(path: str, *, dir_fd: int | None = None) -> int:
    """Open the regular file `path` for reading; a link is not followed. The caller closes it.

    For paths of the host: /proc has to be the host's.

    Raises:
        OSError: EINVAL, it is no regular file; or as open(2).
    """
    # Order: looked at before it is opened; the second open is of the same file, whatever has come
    # to stand at the path.
    flags = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
    path_fd = os.open(path, flags, dir_fd=dir_fd)
    try:
        check_regular(path_fd, path)
        return os.open(f"/proc/self/fd/{path_fd}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        error.filename = path
        raise
    finally:
        os.close(path_fd)


def open_document(path: str) -> int:
    """Open the regular file or pipe `path` for reading; links are followed. The caller closes it.

    A pipe is what a shell makes of `<(command)`. A FIFO that no writer has opened is at its end.

    Raises:
        OSError: EISDIR, EINVAL, it is something else; or as open(2).
    """
    path_fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        is_pipe = _check_document(path_fd)
        # Order: without O_NONBLOCK the open of a FIFO waits for a writer; with it a read of one
        # that has a writer does not wait for what that is about to write.
        fd = os.open(f"/proc/self/fd/{path_fd}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        if is_pipe:
            os.set_blocking(fd, True)
    except OSError as error:
        error.filename = path
        raise
    else:
        return fd
    finally:
        os.close(path_fd)


def _check_document(fd: int) -> bool:
    """Return whether `fd` is open on a pipe; raise where it is no regular file either."""
    kind = os.fstat(fd).st_mode
    if stat.S_ISDIR(kind):
        raise OSError(EISDIR, "is a directory")
    if not (stat.S_ISREG(kind) or stat.S_ISFIFO(kind)):
        raise OSError(EINVAL, "neither a regular file nor a pipe")
    return stat.S_ISFIFO(kind)


def read_document(path: str, most_bytes: int) -> bytes:
    """Return what the file or pipe `path` holds, and no more than one byte over `most_bytes`.

    Raises:
        OSError: as `open_document`, `read_stream` and read(2).
    """
    fd = open_document(path)
    try:
        return read_stream(fd, most_bytes)
    finally:
        os.close(fd)


def read_stream(fd: int, most_bytes: int) -> bytes:
    """Return what can be read from `fd` (borrowed), and no more than one byte over `most_bytes`.

    Raises:
        OSError: EPIPE, it is a pipe with nothing in it and without a writer; or as read(2).
    """
    pieces = []
    size = 0
    while size <= most_bytes and (piece := os.read(fd, min(most_bytes + 1 - size, 1 << 20))):
        pieces.append(piece)
        size += len(piece)
    if not size and stat.S_ISFIFO(os.fstat(fd).st_mode):
        raise OSError(EPIPE, "nobody has written to this pipe")
    return b"".join(pieces)


def read_regular(path: str, most_bytes: int, *, dir_fd: int | None = None) -> bytes:
    """Return what the regular file `path` holds, up to `most_bytes`; see `open_regular`.

    Raises:
        OSError: EFBIG, it is larger; or as `open_regular` and read(2).
    """
    fd = open_regular(path, dir_fd=dir_fd)
    try:
        return read_open(fd, most_bytes, path)
    finally:
        os.close(fd)
