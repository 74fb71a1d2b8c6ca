"""Files that somebody else had a hand in: only regular ones are read, and only so far."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from ocirun.kernel.regular_files import (
    open_regular,
    read_document,
    read_open,
    read_regular,
    read_stream,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "file"


def refused(path: Path, number: int, most_bytes: int = 100) -> None:
    before = os.listdir("/proc/self/fd")
    with pytest.raises(OSError, match=r".") as caught:
        read_regular(os.fspath(path), most_bytes)
    assert caught.value.errno == number
    assert caught.value.filename == os.fspath(path)
    assert os.listdir("/proc/self/fd") == before


def test_a_regular_file_is_read_whole(path: Path) -> None:
    path.write_bytes(b"text" * 200_000)
    assert read_regular(os.fspath(path), 1 << 20) == b"text" * 200_000


def test_a_path_may_be_relative_to_a_descriptor(path: Path) -> None:
    path.write_bytes(b"text")
    fd = os.open(path.parent, os.O_RDONLY)
    assert read_regular("file", 4, dir_fd=fd) == b"text"
    os.close(fd)


@pytest.mark.parametrize("size", [0, 1, 99, 100])
def test_a_file_up_to_the_bound_is_read(path: Path, size: int) -> None:
    path.write_bytes(b"x" * size)
    assert len(read_regular(os.fspath(path), 100)) == size


def test_a_larger_file_is_refused(path: Path) -> None:
    path.write_bytes(b"x" * 101)
    refused(path, errno.EFBIG)


def test_a_fifo_is_refused_without_a_wait(path: Path) -> None:
    os.mkfifo(path)
    refused(path, errno.EINVAL)


def test_a_folder_is_refused(path: Path) -> None:
    path.mkdir()
    refused(path, errno.EINVAL)


def test_a_link_is_refused(path: Path) -> None:
    (path.parent / "target").write_bytes(b"text")
    path.symlink_to("target")
    refused(path, errno.EINVAL)


def test_a_missing_file_is_that(path: Path) -> None:
    refused(path, errno.ENOENT)


def test_what_was_opened_does_not_survive_an_exec(path: Path) -> None:
    path.write_bytes(b"")
    fd = open_regular(os.fspath(path))
    assert not os.get_inheritable(fd)
    os.close(fd)


def test_an_open_pipe_is_refused() -> None:
    reading, writing = os.pipe()
    with pytest.raises(OSError, match="not a regular file"):
        read_open(reading, 10, "name")
    os.close(reading)
    os.close(writing)


def written_nothing(fd: int) -> int:
    """Return what reading a document from `fd` fails with."""
    with pytest.raises(OSError, match="nobody has written") as caught:
        read_stream(fd, 100)
    return caught.value.errno or 0


def test_a_document_may_be_a_link_or_a_pipe(path: Path) -> None:
    path.write_bytes(b"text")
    link = path.with_name("link")
    link.symlink_to(path)
    assert read_document(os.fspath(link), 100) == b"text"
    reader, writer = os.pipe()
    os.write(writer, b"text")
    os.close(writer)
    assert read_document(f"/dev/fd/{reader}", 100) == b"text"
    assert written_nothing(reader) == errno.EPIPE
    os.close(reader)


def test_a_document_is_read_one_byte_too_far_and_no_further(path: Path) -> None:
    path.write_bytes(b"x" * 300)
    assert len(read_document(os.fspath(path), 100)) == 101
    path.write_bytes(b"")
    assert read_document(os.fspath(path), 100) == b""


@pytest.mark.parametrize("kind", ["fifo", "device", "directory", "missing"])
def test_no_other_file_is_opened_as_a_document(path: Path, kind: str) -> None:
    number = {"fifo": errno.EPIPE, "device": errno.EINVAL, "directory": errno.EISDIR}
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "directory":
        path.mkdir()
    before = os.listdir("/proc/self/fd")
    with pytest.raises(OSError, match=r".") as caught:
        read_document(os.fspath(path), 100)
    assert caught.value.errno == number.get(kind, errno.ENOENT)
    assert os.listdir("/proc/self/fd") == before
