r"""The fields of /proc/PID/mountinfo.

A line ends with "\n" and fields are separated by one space; the kernel writes space, tab, newline
and backslash of a path as octal escapes, and everything else as it is, form feeds included.

Source: proc_pid_mountinfo(5).
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

ESCAPES: Final = {"040": " ", "011": "\t", "012": "\n", "134": "\\"}
ESCAPE_LETTERS: Final = 3
FEWEST_FIELDS: Final = 9  # six, the separator, file system, source; super options may be empty


def unescape(field: str) -> str:
    r"""Return `field` without escapes; "\040" is a space."""
    head, *rest = field.split("\\")
    parts = [head]
    for part in rest:
        letter = ESCAPES.get(part[:ESCAPE_LETTERS])
        parts.append("\\" + part if letter is None else letter + part[ESCAPE_LETTERS:])
    return "".join(parts)


def rows(text: str) -> list[tuple[list[str], list[str]]]:
    """Return the fields before and after the separator, line by line, still escaped.

    Before: mount id, parent id, device, root, mount point, options, tags. After: file system,
    source, super options. Lines of another shape are left out.
    """
    found = []
    for line in text.split("\n"):
        before, separator, after = line.partition(" - ")
        fields = before.split(" ")
        if separator and len(fields) >= FEWEST_FIELDS - 3:
            found.append((fields, after.split(" ")))
    return found


def read_mountinfo(path: str = "/proc/self/mountinfo") -> str:
    """Return the mount table of our mount namespace.

    Raises:
        OSError: as open(2) and read(2).
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        data = bytearray()
        while piece := os.read(fd, 1 << 16):
            data += piece
    finally:
        os.close(fd)
    return os.fsdecode(bytes(data))
