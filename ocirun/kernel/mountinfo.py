"""Read the kernel's table of mounts. Source: proc_pid_mountinfo(5)."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

OWN_TABLE: Final = "/proc/self/mountinfo"


class MountRow:
    """One mount. `options` are its own (ro, nosuid, …), `tags` its propagation (shared:1, …)."""

    __slots__ = ("fs_name", "mount_id", "options", "parent_id", "point", "root", "source", "tags")

    def __init__(self, line: str) -> None:
        before, _, after = line.partition(" - ")
        fields = before.split(" ")
        self.mount_id = int(fields[0])
        self.parent_id = int(fields[1])
        self.root = unescape(fields[3])
        self.point = unescape(fields[4])
        self.options = fields[5].split(",")
        self.tags = fields[6:]
        fs_name, source = after.split(" ")[:2]
        self.fs_name = fs_name
        self.source = unescape(source)

    @property
    def is_shared(self) -> bool:
        """Whether mounts made on it show in its peers."""
        return any(tag.startswith("shared:") for tag in self.tags)


def read_mountinfo() -> list[MountRow]:
    """Read the mounts of our own mount namespace."""
    with open(OWN_TABLE, encoding="utf-8", errors="surrogateescape") as lines:
        return [MountRow(line.rstrip("\n")) for line in lines]


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
    r"""Undo the octal escapes of a field (\040 for a space)."""
    if "\\" not in field:
        return field
    head, *rest = field.split("\\")
    return head + "".join(chr(int(part[:3], 8)) + part[3:] for part in rest)
