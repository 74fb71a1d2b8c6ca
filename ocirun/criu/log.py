"""What CRIU has written into its log, as far as it explains a failure.

Source: criu(8), "Logging": each line is a time in brackets, then the text, which begins with Error
for failures.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

LAST_BYTES: Final = 4 << 20
MOST_LINES: Final = 10


def error_lines(directory_fd: int, name: str) -> list[str]:
    """Give the last lines of the log `name` in `directory_fd` (borrowed) that tell of an error.

    None of them when there is no log. Security: a link or a device in its place is not followed or
    read.
    """
    try:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        fd = os.open(name, flags, dir_fd=directory_fd)
    except OSError:  # CRIU had not come as far, or it is not CRIU's: there is nothing to tell
        return []
    try:
        return errors_in(_last_part(fd))
    finally:
        os.close(fd)


def errors_in(data: bytes) -> list[str]:
    """Give the last lines of `data` that tell of an error, without their times."""
    found = []
    for line in data.decode("utf-8", "replace").splitlines():
        text = line.partition(") ")[2] if line.startswith("(") else line
        text = plain(text)
        at = text.find("Error")
        if at >= 0:
            found.append(text[at:])
    return found[-MOST_LINES:]


def plain(text: str) -> str:
    """Give `text` as one line without control characters.

    Security: the container's names are in it, and a terminal may be where it is read.
    """
    words = " ".join(text.split())
    return "".join(letter for letter in words if letter.isprintable())


def _last_part(fd: int) -> bytes:
    found = os.fstat(fd)
    if found.st_mode & 0o170000 != 0o100000:
        return b""
    start = max(0, found.st_size - LAST_BYTES)
    return os.pread(fd, LAST_BYTES, start)
