"""Which pipes a container had as its stdio, remembered beside the images.

A pipe of the container's caller is in no image: at restore another one takes its place, and CRIU
knows which by the name that the kernel gave the old one.

Source: criu.org/Inheriting_FDs_on_restore; docs/runc-compat/checkpoint.md#dump.
"""

from __future__ import annotations

import os

from ocirun.errors import SpecError, doing
from ocirun.kernel.regular_files import read_regular
from ocirun.spec.jsontext import compact, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

FILE: Final = "descriptors.json"
MOST_BYTES: Final = 1 << 16


def save_names(image_fd: int, names: list[str]) -> None:
    """Write the names of the container's fds 0 to 2 into the folder of its images (borrowed)."""
    temporary = f".{FILE}.{os.getpid()}"
    with doing(f"writing {FILE}"):
        # Security: whatever stands there, a link or a FIFO, is replaced and never written to.
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(temporary, flags, 0o600, dir_fd=image_fd)
        try:
            os.write(fd, os.fsencode(compact(names)))
            os.rename(temporary, FILE, src_dir_fd=image_fd, dst_dir_fd=image_fd)
        except BaseException:
            os.unlink(temporary, dir_fd=image_fd)
            raise
        finally:
            os.close(fd)


def load_names(image_fd: int) -> list[str]:
    """Read those names; of a container that had none, or was saved by another program, no names.

    Raises:
        SetupError: the file cannot be read. SpecError: it does not hold a list of names.
    """
    with doing(f"reading {FILE}"):
        try:
            data = read_regular(FILE, MOST_BYTES, dir_fd=image_fd)
        except FileNotFoundError:
            return []
    names = parse(data, FILE, "surrogateescape")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        from ocirun.errors import Problem

        raise SpecError([Problem("", "is not a list of names")], FILE)
    return names


def pipes_among(names: list[str]) -> list[tuple[str, int]]:
    """Return (name, number) of each of fds 0 to 2 that was a pipe, each pipe once."""
    found: dict[str, int] = {}
    for number, name in enumerate(names[:3]):
        if name.startswith("pipe:["):
            found.setdefault(name, number)
    return list(found.items())
