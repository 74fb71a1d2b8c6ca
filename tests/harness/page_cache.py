"""How the page cache keeps a file: the kernel's folios.

Source: kernel admin-guide/mm/pagemap.rst.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import struct
from pathlib import Path

TAIL = 16  # KPF_COMPOUND_TAIL


def drop(path: Path) -> None:
    """Remove a file, which nobody uses, from the page cache."""
    fd = os.open(path, os.O_RDONLY)
    os.fsync(fd)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(fd)


def read_in_large_folios(path: Path) -> None:
    """Read a file by way of a mapping that asks for them."""
    with path.open("rb") as file, _mapped(file.fileno()) as memory:
        memory.madvise(mmap.MADV_HUGEPAGE)
        _touch(memory)


def folio_at(path: Path, offset: int) -> int:
    """Return the number of pages of the folio that begins at `offset` of a file; needs root."""
    with (
        path.open("rb") as file,
        _mapped(file.fileno()) as memory,
        open("/proc/self/pagemap", "rb") as pagemap,
        open("/proc/kpageflags", "rb") as flags,
    ):
        _touch(memory)
        start = ctypes.addressof(ctypes.c_char.from_buffer(memory)) + offset
        pagemap.seek(start // mmap.PAGESIZE * 8)
        length = 0
        entries = pagemap.read((len(memory) - offset) // mmap.PAGESIZE * 8)
        for (entry,) in struct.iter_unpack("Q", entries):
            flags.seek((entry & (1 << 55) - 1) * 8)
            (flag,) = struct.unpack("Q", flags.read(8))
            if length and not flag >> TAIL & 1:
                break
            length += 1
    return length


def _mapped(fd: int) -> mmap.mmap:
    return mmap.mmap(fd, 0, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE)


def _touch(memory: mmap.mmap) -> None:
    for at in range(0, len(memory), mmap.PAGESIZE):
        memory[at]
