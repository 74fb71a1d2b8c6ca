"""The mount table: escapes, tags, odd names, and what is mounted below what.

Source: proc_pid_mountinfo(5).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ocirun.cgroups.paths import Table, parse_own
from ocirun.kernel import mountinfo
from ocirun.kernel.mountinfo import descendants, parse_mountinfo, read_mountinfo, unescape
from ocirun.rootfs.pivot import full_views

if TYPE_CHECKING:
    from pathlib import Path

TABLE = """\
20 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
32 31 0:24 / /a/below rw,nosuid - tmpfs tmpfs rw,size=64k
31 20 0:23 /sub /a\\040b ro,noatime shared:2 master:1 - tmpfs no\\134thing rw
33 20 0:25 / /c rw - proc proc rw
"""


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


def test_a_row_has_its_fields() -> None:
    row = parse_mountinfo(TABLE)[2]
    assert (row.mount_id, row.parent_id, row.root, row.point) == (31, 20, "/sub", "/a b")
    assert row.options == ["ro", "noatime"]
    assert row.tags == ["shared:2", "master:1"]
    assert (row.fs_name, row.source) == ("tmpfs", "no\\thing")


def test_only_a_shared_tag_is_shared() -> None:
    assert [row.is_shared for row in parse_mountinfo(TABLE)] == [True, False, True, False]


def test_what_is_below_a_mount_is_found_whatever_the_order() -> None:
    rows = parse_mountinfo(TABLE)
    assert [row.mount_id for row in descendants(rows, 31)] == [32]
    assert [row.mount_id for row in descendants(rows, 20)] == [32, 31, 33]
    assert descendants(rows, 33) == []


@pytest.mark.parametrize("letter", "\x0b\x0c\r\x1c\x1d\x1e\x85\u2028")
def test_only_a_newline_ends_a_line(
    letter: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """str.splitlines and text files know more line ends, and the kernel escapes none of them."""
    text = f"21 20 0:20 / /a{letter}b rw shared:1 - proc proc rw\n"
    path = tmp_path / "mountinfo"
    path.write_bytes(text.encode())
    monkeypatch.setattr(mountinfo, "OWN_TABLE", str(path))
    [row] = read_mountinfo()
    assert (row.point, row.fs_name) == (f"/a{letter}b", "proc")
    assert full_views([row], 7) == [f"/a{letter}b"]
    assert parse_own(f"2:memory:/a{letter}b\n") == {"memory": f"/a{letter}b"}


@pytest.mark.parametrize(
    "line",
    ["", "1 2 3", "1 2 0:3 / /x rw", " - cgroup", "1 2 0:3 / - proc p rw", "x 2 0:3 / /x rw - a b"],
)
def test_a_line_of_another_shape_is_left_out(line: str) -> None:
    assert parse_mountinfo(f"{line}\n") == []


def test_a_line_without_tags_has_six_fields_and_three() -> None:
    [row] = parse_mountinfo("1 2 0:3 / /x rw - proc p rw\n")
    assert (row.point, row.fs_name) == ("/x", "proc")


def test_a_cgroup_mount_without_options_is_one() -> None:
    table = Table("1 2 0:3 /r /x rw - cgroup2 none\n", "0::/a\n")
    [mount] = table.mounts
    assert (mount.point, mount.root, mount.version) == ("/x", "/r", 2)


def test_our_own_table_is_read() -> None:
    assert any(row.point == "/" for row in read_mountinfo())
