"""The error lines of CRIU's log, which explain a failure.

Source: criu(8), "Logging": each line is a time in brackets, then the text, which begins with Error
for failures.
"""

from __future__ import annotations

import os

from ocirun.kernel.regular_files import open_regular

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

LAST_BYTES: Final = 4 << 20
MOST_LINES: Final = 10


def error_lines(directory_fd: int, name: str) -> list[str]:
    """Return the last error lines of the log `name` in `directory_fd` (borrowed).

    An empty list when there is no log. Security: a link or a device in its place is not opened.
    """
    try:
        fd = open_regular(name, dir_fd=directory_fd)
    except OSError:  # CRIU had not come as far, or it is not CRIU's: there is nothing to quote
        return []
    try:
        start = max(0, os.fstat(fd).st_size - LAST_BYTES)
        return errors_in(os.pread(fd, LAST_BYTES, start))
    finally:
        os.close(fd)


def errors_in(data: bytes) -> list[str]:
    """Return the last lines of `data` that begin with Error, without their times."""
    found = []
    for line in data.decode("utf-8", "replace").split("\n"):
        text = line.partition(") ")[2] if line.startswith("(") else line
        text = plain(text)
        at = text.find("Error")
        if at >= 0:
            found.append(text[at:])
    return found[-MOST_LINES:]


def plain(text: str) -> str:
    """Return `text` as one line without control characters.

    Security: the container's names are in it, and a terminal may be where it is read.
    """
    message = " ".join(text.split())
    return "".join(letter for letter in message if letter.isprintable())
