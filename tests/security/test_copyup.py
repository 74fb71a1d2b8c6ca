"""tmpcopyup reads regular files only, and nothing outside the directory that it covers.

The image, or a second container that shares a volume, puts a FIFO, a device or a link in the place
of a file between the look and the open. Opening a device has effects of its own, and reading one
may never end. The races are about the step alone, and so are not run on runc.
"""

from __future__ import annotations

import fcntl
import os
import struct
import subprocess
import termios
from collections.abc import Generator
from pathlib import Path

import pytest
from harness.attack import Exchanger
from harness.box import Box
from harness.inside import do, inside, mount_entry, mounts
from harness.needs import needs
from harness.peers import peer_deviates

from ocirun.kernel.mount import umount2

ENTRY = {
    "destination": "/data",
    "type": "tmpfs",
    "source": "tmpfs",
    "options": ["tmpcopyup", "size=16m"],
}
ROUNDS = 1000
DEEP = 1500


@pytest.fixture
def root(tmp_path: Path) -> Generator[Path, None, None]:
    """A root with a folder /data to be covered, and a folder beside it."""
    for name in ("root/data/folder", "beside"):
        (tmp_path / name).mkdir(parents=True)
    yield tmp_path / "root"
    subprocess.run(["rm", "-rf", tmp_path / "root"], check=True)


@pytest.fixture
def fifo(root: Path) -> Generator[int, None, None]:
    """A FIFO beside the data, with four bytes in it; a descriptor of it."""
    os.mkfifo(root / "fifo")
    fd = os.open(root / "fifo", os.O_RDWR | os.O_NONBLOCK)
    os.write(fd, b"leak")
    yield fd
    os.close(fd)


def unread(fd: int) -> int:
    return int(struct.unpack("i", fcntl.ioctl(fd, termios.FIONREAD, b"\0" * 4))[0])


def cover(root: Path, rounds: int) -> tuple[int, int, set[str]]:
    """Cover /data again and again: how often it worked and failed, what the file had in it."""

    def work() -> object:
        root_fd, context = do(root)
        done = refused = 0
        contents = set()
        for _ in range(rounds):
            try:
                mount_entry(root_fd, ENTRY, context, 0)
            except Exception:  # noqa: BLE001  # a lost race may fail, and must not read
                refused += 1
            else:
                done += 1
                file = root / "data/file"
                if file.is_file():
                    contents.add(file.read_text())
            for place in list(mounts(f"{root}/data")):
                umount2(f"{root}/data{place}".rstrip("/"), 2)
        return done, refused, sorted(contents)

    done, refused, contents = inside(work)  # type: ignore[misc]
    return done, refused, set(contents)


def test_a_fifo_in_the_place_of_a_file_is_not_read(root: Path, fifo: int) -> None:
    (root / "data/file").write_text("regular")
    with Exchanger((root / "data/file", root / "fifo")):
        done, refused, contents = cover(root, ROUNDS)
    assert unread(fifo) == 4
    assert contents <= {"regular"}
    assert done > refused


def test_a_device_in_the_place_of_a_file_is_not_read(root: Path) -> None:
    (root / "data/file").write_text("regular")
    os.mknod(root / "zero", 0o020666, os.makedev(1, 5))
    with Exchanger((root / "data/file", root / "zero")):
        done, refused, contents = cover(root, ROUNDS)
    assert contents <= {"regular"}
    assert done > refused


def test_a_link_in_the_place_of_a_folder_is_not_entered(root: Path) -> None:
    (root.parent / "beside/file").write_text("of the host")
    (root / "data/folder/file").write_text("regular")
    (root / "link").symlink_to(root.parent / "beside")

    def work() -> object:
        root_fd, context = do(root)
        contents = set()
        for _ in range(ROUNDS):
            try:
                mount_entry(root_fd, ENTRY, context, 0)
            except Exception:  # noqa: BLE001  # a lost race may fail
                continue
            inner = root / "data/folder"
            if not inner.is_symlink():
                contents.add((inner / "file").read_text())
            umount2(f"{root}/data", 2)
        return sorted(contents)

    with Exchanger((root / "data/folder", root / "link")):
        contents = inside(work)
    assert contents == ["regular"]


def test_a_folder_that_is_moved_away_is_not_followed_up(root: Path) -> None:
    """Its ".." then leads elsewhere: what lies beside the data is never copied."""
    (root / "data/folder/deep/deeper").mkdir(parents=True)
    (root / "data/folder/deep/deeper/file").write_text("regular")
    (root / "outside/deep/deeper").mkdir(parents=True)
    (root / "outside/secret").write_text("secret")

    def work() -> object:
        root_fd, context = do(root)
        names = set()
        for _ in range(ROUNDS):
            try:
                mount_entry(root_fd, ENTRY, context, 0)
            except Exception:  # noqa: BLE001  # a lost race may fail
                continue
            for _, folders, files in os.walk(root / "data"):
                names.update(folders + files)
            umount2(f"{root}/data", 2)
        return sorted(names)

    deep = (root / "data/folder/deep/deeper", root / "outside/deep/deeper")
    with Exchanger(deep):
        names = inside(work)
    assert set(names) <= {"folder", "deep", "deeper", "file"}  # type: ignore[call-overload]


def test_no_level_is_too_deep(root: Path) -> None:
    """A recursive copy ends at Python's limit, or at that of open descriptors."""
    before = os.getcwd()
    os.chdir(root / "data")
    for _ in range(DEEP):
        os.mkdir("d")
        os.chdir("d")
    Path("end").write_text("found")
    os.chdir(before)

    def work() -> object:
        do(root, ENTRY)
        os.chdir(root / "data")
        levels = 0
        while os.path.isdir("d"):
            os.chdir("d")
            levels += 1
        return levels, Path("end").read_text()

    assert inside(work) == [DEEP, "found"]


@peer_deviates("runc", "1.1 has Go's own limits", sometimes=True)
@needs("root")
def test_a_whole_container_copies_what_is_there(box: Box) -> None:
    """Kinds, modes, owners and links are kept; runs on runc too."""
    bundle = box.bundle("stat", "-c", "%n %F %a %u", "/data/file", "/data/link", "/data/folder")
    data = bundle.rootfs / "data"
    (data / "folder").mkdir(parents=True)
    (data / "file").write_text("x")
    (data / "file").chmod(0o640)
    os.chown(data / "file", 1000, 1000)
    (data / "link").symlink_to("file")
    (data / "folder").chmod(0o2750)
    bundle.mounts.append(ENTRY)
    assert box.output(bundle).splitlines() == [
        "/data/file regular file 640 1000",
        "/data/link symbolic link 777 0",
        "/data/folder directory 2750 0",
    ]
