"""Paths inside the root cannot leave it: openat2 needs no rights, so this runs for everybody."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest

from ocirun.errors import SetupError
from ocirun.rootfs.resolve import (
    make_dir_in_root,
    make_file_in_root,
    open_in_root,
    open_straight,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Root:
    """A root directory with a directory `outside` beside it that must stay empty."""

    def __init__(self, base: Path) -> None:
        self.path = base / "root"
        self.outside = base / "outside"
        self.path.mkdir()
        self.outside.mkdir()
        self.fd = os.open(self.path, os.O_PATH | os.O_DIRECTORY)

    def where(self, fd: int) -> str:
        """Return where `fd` is inside the root, and close it."""
        path = os.readlink(f"/proc/self/fd/{fd}")
        os.close(fd)
        assert path.startswith(f"{self.path}/"), path
        return path.removeprefix(str(self.path))


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Root]:
    made = Root(tmp_path)
    yield made
    assert list(made.outside.iterdir()) == []
    os.close(made.fd)


def test_links_end_inside_the_root(root: Root) -> None:
    (root.path / "etc").mkdir()
    (root.path / "absolute").symlink_to("/etc")
    (root.path / "climbing").symlink_to("../../../../etc")
    for name in ("/etc", "absolute", "/climbing", "/absolute/../../etc"):
        assert root.where(open_in_root(root.fd, name)) == "/etc"


def test_a_missing_path_is_made_through_links(root: Root) -> None:
    (root.path / "a").mkdir()
    (root.path / "link").symlink_to(f"{root.outside}/deep")
    assert root.where(make_dir_in_root(root.fd, "/a/b/c")) == "/a/b/c"
    assert root.where(make_dir_in_root(root.fd, "/link/x")) == f"{root.outside}/deep/x"
    assert (root.path / str(root.outside)[1:] / "deep" / "x").is_dir()


def test_a_dangling_link_at_the_end_has_its_target_made(root: Root) -> None:
    (root.path / "a").mkdir()
    (root.path / "a" / "dangling").symlink_to("../b/c")
    assert root.where(make_dir_in_root(root.fd, "/a/dangling")) == "/b/c"
    (root.path / "a" / "file").symlink_to("../../../d/file")
    assert root.where(make_file_in_root(root.fd, "/a/file")) == "/d/file"
    assert (root.path / "d" / "file").stat().st_size == 0


def test_a_link_at_the_end_can_be_opened_itself(root: Root) -> None:
    (root.path / "dev").mkdir()
    (root.path / "dev" / "console").symlink_to("/etc/passwd")
    fd = make_file_in_root(root.fd, "/dev/console", nofollow=True)
    assert stat.S_ISLNK(os.fstat(fd).st_mode)
    os.close(fd)
    assert root.where(make_file_in_root(root.fd, "/dev/new", nofollow=True)) == "/dev/new"


def test_a_ring_of_links_ends(root: Root) -> None:
    (root.path / "one").symlink_to("two")
    (root.path / "two").symlink_to("one")
    for make in (make_dir_in_root, make_file_in_root):
        with pytest.raises(OSError, match="Too many levels"):
            make(root.fd, "/one")


@pytest.mark.parametrize("path", ["/", ".", "", "/../..", "/self", "/up/.."])
def test_the_root_itself_is_refused(root: Root, path: str) -> None:
    (root.path / "self").symlink_to("/")
    (root.path / "up").mkdir()
    for opened in (open_in_root, make_dir_in_root, make_file_in_root):
        with pytest.raises(SetupError, match="is on the top of rootfs"):
            opened(root.fd, path)


def test_a_dangling_way_back_to_the_root_is_refused(root: Root) -> None:
    (root.path / "back").symlink_to("/gone/..")
    with pytest.raises(FileNotFoundError):
        make_dir_in_root(root.fd, "/back")


def test_the_links_of_proc_lead_nowhere(root: Root) -> None:
    proc_fd = os.open("/proc", os.O_PATH | os.O_DIRECTORY)
    with pytest.raises(OSError, match="Too many levels"):
        open_in_root(proc_fd, f"/self/fd/{root.fd}")
    os.close(proc_fd)


def test_a_straight_path_holds_no_link(root: Root) -> None:
    (root.path / "proc").symlink_to("/etc")
    (root.path / "etc").mkdir()
    for path in ("/proc", "/etc/../etc", "/"):
        with pytest.raises(OSError, match="Too many levels"):
            os.close(open_straight(root.fd, path, os.O_PATH))


def test_modes_and_existing_things(root: Root) -> None:
    old = os.umask(0o022)
    os.close(make_dir_in_root(root.fd, "/new/dir"))
    os.close(make_file_in_root(root.fd, "/new/file"))
    os.umask(old)
    assert (root.path / "new" / "dir").stat().st_mode & 0o7777 == 0o755
    assert (root.path / "new" / "file").stat().st_mode & 0o7777 == 0o644
    (root.path / "new" / "file").write_text("kept")
    os.close(make_file_in_root(root.fd, "/new/file"))
    assert (root.path / "new" / "file").read_text() == "kept"
    with pytest.raises(NotADirectoryError):
        make_dir_in_root(root.fd, "/new/file/below")
    with pytest.raises(NotADirectoryError):
        make_dir_in_root(root.fd, "/new/file")


def test_bytes_that_are_no_text_survive(root: Root) -> None:
    os.close(make_dir_in_root(root.fd, os.fsdecode(b"/caf\xe9/x")))
    assert os.listdir(os.fsencode(root.path)) == [b"caf\xe9"]


def test_no_descriptor_is_left_open(root: Root) -> None:
    (root.path / "link").symlink_to("/gone/a")
    before = os.listdir("/proc/self/fd")
    os.close(make_dir_in_root(root.fd, "/x/y/z"))
    os.close(make_file_in_root(root.fd, "/link/f"))
    for path in ("/", "/link/../..", "/x/y/z/../../../f/..", "/link/f/g"):
        with pytest.raises((OSError, SetupError)):
            make_dir_in_root(root.fd, path)
    assert os.listdir("/proc/self/fd") == before
