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


class MountRow:
    """One mount. `options` are its own (ro, nosuid, …), `tags` its propagation (shared:1, …)."""

    __slots__ = ("mount_id", "options", "parent_id", "point", "tags")

    def __init__(self, fields: list[str]) -> None:
        self.mount_id = int(fields[0])
        self.parent_id = int(fields[1])
        self.point = unescape(fields[4])
        self.options = fields[5].split(",")
        self.tags = fields[6:]

    @property
    def is_shared(self) -> bool:
        """Whether mounts made on it show in its peers."""
        return any(tag.startswith("shared:") for tag in self.tags)


def mount_rows() -> list[MountRow]:
    """Return the mounts of our own mount namespace."""
    return [MountRow(fields) for fields, _ in rows(read_mountinfo())]


def descendants(found: list[MountRow], mount_id: int) -> list[MountRow]:
    """Return the mounts of `found` that are mounted on `mount_id` or below it; not itself.

    The table lists a mount before its children, except after moves: it is searched until nothing
    new turns up.
    """
    inside = {mount_id}
    known = 0
    while known != len(inside):
        known = len(inside)
        inside.update(row.mount_id for row in found if row.parent_id in inside)
    return [row for row in found if row.mount_id in inside and row.mount_id != mount_id]
