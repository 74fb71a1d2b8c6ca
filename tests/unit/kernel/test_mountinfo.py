"""Lines of /proc/self/mountinfo, whatever the names of mount points hold."""

from __future__ import annotations

from pathlib import Path

import pytest

from ocirun.cgroups.paths import Table, parse_own
from ocirun.kernel.mountinfo import MountRow, descendants, read_mountinfo, rows, unescape
from ocirun.rootfs.pivot import full_views


@pytest.mark.parametrize(
    ("field", "path"),
    [
        ("/plain", "/plain"),
        ("/a\\040b", "/a b"),
        ("\\040\\011\\012\\134", " \t\n\\"),
        ("/a\\134040", "/a\\040"),  # a backslash, and digits of the name
        ("/a\\04", "/a\\04"),
        ("/a\\", "/a\\"),
        ("/a\\777b", "/a\\777b"),
    ],
)
def test_escapes_are_undone_once(field: str, path: str) -> None:
    assert unescape(field) == path


@pytest.mark.parametrize("letter", "\x0b\x0c\r\x1c\x1d\x1e\x85\u2028")
def test_only_a_newline_ends_a_line(letter: str, tmp_path: Path) -> None:
    """str.splitlines and text files know more line ends, and the kernel escapes none of them."""
    text = f"21 20 0:20 / /a{letter}b rw shared:1 - proc proc rw\n"
    [(before, after)] = rows(text)
    assert before[4] == f"/a{letter}b"
    assert after == ["proc", "proc", "rw"]
    assert full_views(text, 7) == [f"/a{letter}b"]
    path = tmp_path / "mountinfo"
    path.write_bytes(text.encode())
    assert read_mountinfo(str(path)) == text
    assert parse_own(f"2:memory:/a{letter}b\n") == {"memory": f"/a{letter}b"}


def test_lines_of_another_shape_are_left_out() -> None:
    assert rows("\n1 2 3\n1 2 0:3 / /x rw\n - cgroup\n1 2 0:3 / - proc p rw\n") == []


def test_a_cgroup_mount_without_options_is_one() -> None:
    table = Table("1 2 0:3 /r /x rw - cgroup2 none\n", "0::/a\n")
    [mount] = table.mounts
    assert (mount.point, mount.root, mount.version) == ("/x", "/r", 2)


def test_our_own_table_is_read() -> None:
    assert any(fields[4] == "/" for fields, _ in rows(read_mountinfo()))


TABLE = """\
20 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
32 31 0:24 / /a/below rw,nosuid - tmpfs tmpfs rw,size=64k
31 20 0:23 /sub /a\\040b ro,noatime shared:2 master:1 - tmpfs tmpfs rw
33 20 0:25 / /c rw - proc proc rw
"""
MOUNTS = [MountRow(fields) for fields, _ in rows(TABLE)]


def test_a_row_has_its_fields() -> None:
    row = MOUNTS[2]
    assert (row.mount_id, row.parent_id, row.point) == (31, 20, "/a b")
    assert row.options == ["ro", "noatime"]
    assert row.tags == ["shared:2", "master:1"]


def test_only_a_shared_tag_is_shared() -> None:
    assert [row.is_shared for row in MOUNTS] == [True, False, True, False]


def test_what_is_below_a_mount_is_found_whatever_the_order() -> None:
    assert [row.mount_id for row in descendants(MOUNTS, 31)] == [32]
    assert [row.mount_id for row in descendants(MOUNTS, 20)] == [32, 31, 33]
    assert descendants(MOUNTS, 33) == []
