r"""Read the kernel's table of mounts, /proc/PID/mountinfo.

A line ends with "\n" and fields are separated by one space; the kernel writes space, tab, newline
and backslash of a path as octal escapes, and everything else as it is, form feeds included.

Source: proc_pid_mountinfo(5).
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

OWN_TABLE: Final = "/proc/self/mountinfo"
MAX_DIGITS: Final = 10  # of an id; the kernel has 31 bits
ESCAPES: Final = {"040": " ", "011": "\t", "012": "\n", "134": "\\"}
ESCAPE_LETTERS: Final = 3
FEWEST_FIELDS: Final = 6  # before the separator; tags of the propagation may follow


class MountRow:
    """One mount. `options` are its own (ro, nosuid, …), `tags` its propagation (shared:1, …).

    `device` is the number of its file system, "MAJOR:MINOR".
    """

    __slots__ = (
        *("device", "fs_name", "mount_id", "options", "parent_id", "point", "root", "source"),
        "tags",
    )

    def __init__(self, before: list[str], after: list[str]) -> None:
        """Read the fields `before` and `after` the separator, still escaped."""
        self.mount_id = int(before[0])
        self.parent_id = int(before[1])
        self.device = before[2]
        self.root = unescape(before[3])
        self.point = unescape(before[4])
        self.options = before[5].split(",")
        self.tags = before[6:]
        self.fs_name = after[0]
        self.source = unescape(after[1])

    @property
    def is_shared(self) -> bool:
        """Whether mounts on it propagate to its peers."""
        return any(tag.startswith("shared:") for tag in self.tags)


def read_mountinfo(path: str = "") -> list[MountRow]:
    """Read the mounts of our own mount namespace, or those of another table.

    Raises:
        OSError: as open(2) and read(2).
    """
    fd = os.open(path or OWN_TABLE, os.O_RDONLY | os.O_CLOEXEC)
    try:
        data = bytearray()
        while piece := os.read(fd, 1 << 16):
            data += piece
    finally:
        os.close(fd)
    return parse_mountinfo(os.fsdecode(bytes(data)))


def parse_mountinfo(text: str) -> list[MountRow]:
    """Return the mounts of a table; lines of another shape are left out."""
    rows = []
    for line in text.split("\n"):  # not splitlines: a name may have a form feed in it
        before, _, after = line.partition(" - ")
        fields, others = before.split(" "), after.split(" ")
        is_row = len(fields) >= FEWEST_FIELDS and len(others) > 1
        if is_row and _is_number(fields[0]) and _is_number(fields[1]):
            rows.append(MountRow(fields, others))
    return rows


def _is_number(field: str) -> bool:
    return field.isascii() and field.isdecimal() and len(field) <= MAX_DIGITS


def descendants(rows: list[MountRow], mount_id: int) -> list[MountRow]:
    """Return the mounts of `rows` that are mounted on `mount_id` or below it; not itself.

    The table lists a mount before its children, except after moves: it is searched until nothing
    new turns up.
    """
    inside = {mount_id}
    known = 0
    while known != len(inside):
        known = len(inside)
        inside.update(row.mount_id for row in rows if row.parent_id in inside)
    return [row for row in rows if row.mount_id in inside and row.mount_id != mount_id]


def unescape(field: str) -> str:
    r"""Return `field` without escapes; "\040" is a space."""
    head, *rest = field.split("\\")
    parts = [head]
    for part in rest:
        letter = ESCAPES.get(part[:ESCAPE_LETTERS])
        parts.append("\\" + part if letter is None else letter + part[ESCAPE_LETTERS:])
    return "".join(parts)
