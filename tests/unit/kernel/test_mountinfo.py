"""The mount table: escapes, tags, and what is mounted below what.

Source: proc_pid_mountinfo(5).
"""

from __future__ import annotations

from ocirun.kernel.mountinfo import MountRow, descendants, unescape

TABLE = """\
20 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
32 31 0:24 / /a/below rw,nosuid - tmpfs tmpfs rw,size=64k
31 20 0:23 /sub /a\\040b ro,noatime shared:2 master:1 - tmpfs no\\134thing rw
33 20 0:25 / /c rw - proc proc rw
"""


def test_escapes_are_undone() -> None:
    assert unescape("/a\\040b\\134") == "/a b\\"
    assert unescape("/plain") == "/plain"


def test_a_row_has_its_fields() -> None:
    row = MountRow(TABLE.splitlines()[2])
    assert (row.mount_id, row.parent_id, row.root, row.point) == (31, 20, "/sub", "/a b")
    assert row.options == ["ro", "noatime"]
    assert row.tags == ["shared:2", "master:1"]
    assert (row.fs_name, row.source) == ("tmpfs", "no\\thing")


def test_only_a_shared_tag_is_shared() -> None:
    rows = [MountRow(line) for line in TABLE.splitlines()]
    assert [row.is_shared for row in rows] == [True, False, True, False]


def test_what_is_below_a_mount_is_found_whatever_the_order() -> None:
    rows = [MountRow(line) for line in TABLE.splitlines()]
    assert [row.mount_id for row in descendants(rows, 31)] == [32]
    assert [row.mount_id for row in descendants(rows, 20)] == [32, 31, 33]
    assert descendants(rows, 33) == []
