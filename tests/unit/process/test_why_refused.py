"""Why execve has refused a file: what is read of it is the image's, and may be anything."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from ocirun.process.program import why_refused

ELF64 = b"\x7fELF\2\1\1".ljust(16, b"\0")


def elf(offset: int, count: int, body: bytes = b"") -> bytes:
    """Return the head of an ELF file with `count` program headers at `offset`."""
    head = bytearray(ELF64.ljust(64, b"\0"))
    head[18:20] = (0x3E).to_bytes(2, "little")
    head[32:40] = offset.to_bytes(8, "little")
    head[56:58] = count.to_bytes(2, "little")
    return bytes(head) + body


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"#!",
        b"#! \n",
        b"\x7fELF",
        elf(64, 0),
        elf(64, 0xFFFF),
        elf(2**64 - 1, 0xFFFF),
        elf(64, 1, b"\3\0\0\0".ljust(8, b"\0") + b"\xff" * 48),
    ],
)
def test_a_file_that_makes_no_sense_has_no_interpreter(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    assert why_refused(bytes(path), errno.ENOENT) == ""


def test_the_interpreter_of_a_program_is_read_from_its_head(tmp_path: Path) -> None:
    segment = b"\3\0\0\0".ljust(8, b"\0") + (64 + 56).to_bytes(8, "little")
    path = tmp_path / "file"
    path.write_bytes(elf(64, 1, segment.ljust(56, b"\0") + b"/lib/ld.so\0rest"))
    assert why_refused(bytes(path), errno.ENOENT) == ": its interpreter /lib/ld.so is not there"


def test_a_fifo_in_its_place_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    assert why_refused(bytes(tmp_path / "fifo"), errno.ENOEXEC) == ""
    assert why_refused(bytes(tmp_path / "gone"), errno.ENOENT) == ""
