"""The environment of the program: which entry counts, and where HOME comes from.

The root is a folder of the test; `home_of` opens /etc/passwd in it as it does in a container's.
"""

from __future__ import annotations

import os
import time
from collections.abc import Generator
from pathlib import Path

import pytest

from ocirun.process.environment import MAX_PASSWD_BYTES, environment, home_of

PASSWD = """\
root:x:0:0:root:/root:/bin/sh
user:x:1000:1000:a user:/home/user:/bin/sh
second:x:1000:1000:the same uid:/home/second:/bin/sh
nohome:x:1001:1001:::/bin/sh
short:x:1002:1002:five fields
exact:x:1003:1003::/home/exact
"""


@pytest.fixture
def root(tmp_path: Path) -> Generator[int]:
    """A descriptor of a root with PASSWD in it."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text(PASSWD)
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    yield fd
    os.close(fd)


def test_entries_keep_their_order(root: int) -> None:
    result = environment(["B=1", "A=2", "HOME=/h"], root, 0)
    assert list(result.items()) == [(b"B", b"1"), (b"A", b"2"), (b"HOME", b"/h")]


def test_the_last_of_equal_names_counts_at_its_own_place(root: int) -> None:
    result = environment(["A=1", "HOME=/h", "A=2"], root, 0)
    assert list(result.items()) == [(b"HOME", b"/h"), (b"A", b"2")]


def test_only_the_first_equals_sign_separates(root: int) -> None:
    assert environment(["A=b=c", "HOME=/h"], root, 0)[b"A"] == b"b=c"


def test_an_empty_value_stays(root: int) -> None:
    assert environment(["A=", "HOME=/h"], root, 0)[b"A"] == b""


def test_bytes_that_are_not_utf8_stay_as_they_are(root: int) -> None:
    entry = os.fsdecode(b"A=\xff\xfe")
    assert environment([entry, "HOME=/h"], root, 0)[b"A"] == b"\xff\xfe"


def test_a_given_home_is_not_looked_up(root: int) -> None:
    assert environment(["HOME=/elsewhere"], root, 1000)[b"HOME"] == b"/elsewhere"


@pytest.mark.parametrize("entries", [["A=1"], ["HOME=", "A=1"]])
def test_a_missing_or_empty_home_comes_from_passwd_and_last(root: int, entries: list[str]) -> None:
    result = environment(entries, root, 1000)
    assert list(result.items()) == [(b"A", b"1"), (b"HOME", b"/home/user")]


@pytest.mark.parametrize(
    ("uid", "home"),
    [
        (0, b"/root"),
        (1000, b"/home/user"),  # the first line of several
        (1001, b"/"),  # an empty field
        (1002, b"/"),  # too few fields
        (1003, b"/home/exact"),  # six fields are enough
        (7, b"/"),  # not there
    ],
)
def test_home_is_the_sixth_field_of_the_first_line_with_the_uid(
    root: int, uid: int, home: bytes
) -> None:
    assert home_of(root, uid) == home


def test_a_name_that_looks_like_the_uid_is_not_the_user(root: int, tmp_path: Path) -> None:
    """CVE-2016-3697."""
    (tmp_path / "etc/passwd").write_text("1000:x:0:0:::/evil:/bin/sh\n1000:x:5:5::/evil:/bin/sh\n")
    assert home_of(root, 1000) == b"/"


@pytest.mark.parametrize("field", ["", "-1000", "+1000", "1000 ", "0x3e8", "1_000", "١٠٠٠"])
def test_a_field_that_is_no_decimal_number_is_nobody(root: int, tmp_path: Path, field: str) -> None:
    (tmp_path / "etc/passwd").write_text(f"user:x:{field}:1::/evil:/bin/sh\n")
    assert home_of(root, 1000) == b"/"


def test_a_uid_of_many_digits_is_nobody(root: int, tmp_path: Path) -> None:
    """More digits than int() takes."""
    (tmp_path / "etc/passwd").write_text(f"user:x:{'9' * 5000}:1::/evil:/bin/sh\n")
    assert home_of(root, 1000) == b"/"


def test_a_missing_passwd_means_the_root_folder(root: int, tmp_path: Path) -> None:
    (tmp_path / "etc/passwd").unlink()
    assert home_of(root, 0) == b"/"


def test_a_link_out_of_the_root_is_resolved_inside(root: int, tmp_path: Path) -> None:
    """CVE-2014-6407 and others: /etc/passwd of the image leads to its own files only."""
    (tmp_path / "etc/passwd").rename(tmp_path / "passwd")
    (tmp_path / "etc/passwd").symlink_to("/../../../../passwd")
    assert home_of(root, 1000) == b"/home/user"


@pytest.mark.parametrize("kind", ["folder", "fifo", "loop", "root", "device"])
def test_what_is_no_regular_file_names_no_home(root: int, tmp_path: Path, kind: str) -> None:
    passwd = tmp_path / "etc/passwd"
    passwd.unlink()
    if kind == "folder":
        passwd.mkdir()
    elif kind == "fifo":
        os.mkfifo(passwd)
    elif kind == "root":
        passwd.symlink_to("/")
    elif kind == "device":
        try:
            os.mknod(passwd, 0o20600, os.makedev(1, 5))
        except PermissionError:
            pytest.skip("not root")
    else:
        passwd.symlink_to("passwd")
    assert home_of(root, 0) == b"/"


@pytest.mark.parametrize(("spare", "home"), [(0, b"/home/user"), (1, b"/")])
def test_a_passwd_of_more_than_four_mebibytes_names_no_home(
    root: int, tmp_path: Path, spare: int, home: bytes
) -> None:
    text = PASSWD.encode()
    size = (4 << 20) + spare - len(text)
    (tmp_path / "etc/passwd").write_bytes(text + b"\n" * size)
    assert home_of(root, 1000) == home


@pytest.mark.parametrize("filler", [b"\n", b":", b":10000", b":1000:", b"x:x:1000:\n"])
def test_no_passwd_takes_long(root: int, tmp_path: Path, filler: bytes) -> None:
    """16 MiB of newlines took 23 s."""
    text = filler * (MAX_PASSWD_BYTES // len(filler))
    (tmp_path / "etc/passwd").write_bytes(text)
    started = time.process_time()
    assert home_of(root, 1000) == b"/"
    assert time.process_time() - started < 2


def test_a_home_with_nul_is_none(root: int, tmp_path: Path) -> None:
    """The environment of execve(2) ends at the first NUL."""
    (tmp_path / "etc/passwd").write_bytes(b"user:x:1000:1000::/h\0me:/bin/sh\n")
    assert home_of(root, 1000) == b"/"


def test_a_line_without_newline_at_the_end_counts(root: int, tmp_path: Path) -> None:
    (tmp_path / "etc/passwd").write_text("a:x:1000:1::/a:/bin/sh\nb:x:1001:1::/b")
    assert home_of(root, 1001) == b"/b"


def test_an_empty_name_has_a_home_too(root: int, tmp_path: Path) -> None:
    (tmp_path / "etc/passwd").write_text(":x:1000:1::/a:/b\n:x:1001:1::/c:/d\n")
    assert home_of(root, 1000) == b"/a"
    assert home_of(root, 1001) == b"/c"


def test_a_uid_in_another_field_is_not_the_uid(root: int, tmp_path: Path) -> None:
    (tmp_path / "etc/passwd").write_text(
        "a:1000:5:1000:1000:/a:/bin/sh\nb:x:5:1000::/b:/bin/sh\nc:x:1000:1::/c:/bin/sh\n"
    )
    assert home_of(root, 1000) == b"/c"


def test_no_descriptor_stays_open(root: int, tmp_path: Path) -> None:
    before = os.listdir("/proc/self/fd")
    home_of(root, 1000)
    (tmp_path / "etc/passwd").unlink()
    os.mkfifo(tmp_path / "etc/passwd")
    home_of(root, 1000)
    assert os.listdir("/proc/self/fd") == before


@pytest.mark.parametrize(
    ("text", "home"),
    [
        (":7:1:1::/other:/bin/sh\nuser:x:7:7::/after:/bin/sh\n", b"/after"),  # a hit at once
        (":x:7:7::/first:/bin/sh\n", b"/first"),  # a line that begins with a colon
        ("other:x:1:1::/other:\nuser:x:7:7::/after:/bin/sh\n", b"/after"),  # and one that ends so
        ("user:x:7:7::/last:/bin/sh", b"/last"),  # without a newline
    ],
)
def test_a_line_is_cut_out_at_its_own_ends(
    root: int, tmp_path: Path, text: str, home: bytes
) -> None:
    (tmp_path / "etc/passwd").write_text(text)
    assert home_of(root, 7) == home
