"""A container's folder: what it is opened as, its lock, reading, writing and removing in it."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Generator
from errno import EACCES, EIO, EMFILE, ENOSYS, ENOTEMPTY, EPERM
from fcntl import LOCK_NB, LOCK_SH, LOCK_UN
from pathlib import Path
from typing import Any

import pytest
from harness.records import new_folder

from ocirun.container import folder as folder_module
from ocirun.container.folder import Folder, open_root
from ocirun.errors import ContainerError, ContainerNotFound, NotAContainer, SetupError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = tmp_path / "root"
    made.mkdir(mode=0o700)
    return made


@pytest.fixture
def folder(root: Path) -> Generator[Folder]:
    with new_folder(root, "web") as made:
        yield made


def open_again(root: Path, container_id: str = "web") -> Folder:
    return Folder(open_root(str(root)), str(root), container_id)


def open_fds() -> list[str]:
    return sorted(os.listdir("/proc/self/fd"))


def refusing(errno: int) -> Callable[..., Any]:
    """Return a function that fails as a system call does."""

    def refuse(*_: object, **__: object) -> Any:  # noqa: ANN401  # stands in for any call
        raise OSError(errno, os.strerror(errno))

    return refuse


# --- opening --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("file", "is not a directory"),
        ("link", "is a symbolic link"),
        ("open to all", r"may be written to by others \(mode 0o777\)"),
        ("open to the group", r"may be written to by others \(mode 0o770\)"),
    ],
)
def test_what_is_no_folder_of_ours_is_not_opened(root: Path, kind: str, words: str) -> None:
    place = root / "web"
    if kind == "file":
        place.touch()
    elif kind == "link":
        place.symlink_to(root)
    else:
        place.mkdir()
        place.chmod(0o777 if kind == "open to all" else 0o770)
    before = open_fds()
    with pytest.raises(NotAContainer, match=words):
        open_again(root)
    assert open_fds() == before


def test_a_folder_that_others_may_read_is_opened(root: Path) -> None:
    (root / "web").mkdir(mode=0o755)
    open_again(root).close()


def test_a_folder_of_another_user_is_not_opened(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "web").mkdir(mode=0o700)
    root_fd = open_root(str(root))
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    with pytest.raises(NotAContainer, match=r"belongs to uid .*, not to uid 4711"):
        Folder(root_fd, str(root), "web")


def test_a_name_that_nothing_has_is_not_found(root: Path) -> None:
    before = open_fds()
    with pytest.raises(ContainerNotFound):
        open_again(root)
    assert open_fds() == before


def test_what_the_kernel_does_not_open_is_named_with_its_reason(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root_fd = open_root(str(root))
    monkeypatch.setattr(os, "open", refusing(EACCES))
    with pytest.raises(NotAContainer, match="cannot be opened: Permission denied"):
        Folder(root_fd, str(root), "web")


def test_a_kernel_that_cannot_look_does_not_make_the_container_gone(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root_fd = open_root(str(root))
    monkeypatch.setattr(os, "open", refusing(EMFILE))
    with pytest.raises(SetupError, match=r"^opening .*/web: too many open files$"):
        Folder(root_fd, str(root), "web")


def test_closing_twice_closes_once(folder: Folder) -> None:
    before = len(open_fds())
    folder.close()
    assert (folder.fd, len(open_fds())) == (-1, before - 2)
    folder.close()


@pytest.mark.parametrize(
    ("kind", "words"), [("file", "is not a directory"), ("link", "is a symbolic link")]
)
def test_a_state_root_that_is_no_directory_is_refused(
    tmp_path: Path, kind: str, words: str
) -> None:
    place = tmp_path / "root"
    if kind == "file":
        place.touch()
    else:
        place.symlink_to(tmp_path)
    with pytest.raises(SetupError, match=f"state root {place} {words}") as caught:
        open_root(str(place))
    assert caught.value.errno != 0


def test_a_state_root_that_others_may_write_to_is_refused(root: Path) -> None:
    root.chmod(0o720)
    before = open_fds()
    with pytest.raises(SetupError, match=f"state root {root} may be written to by others"):
        open_root(str(root))
    assert open_fds() == before


# --- the lock -------------------------------------------------------------------------------------


def test_one_lock_at_a_time(root: Path, folder: Folder) -> None:
    with open_again(root) as other:
        assert folder.lock()
        assert folder.lock()  # ours already
        assert not folder.is_locked_by_another()
        assert other.is_locked_by_another()
        assert not other.lock()
        folder.unlock()
        assert not other.is_locked_by_another()
        assert other.lock()
        folder.unlock()  # not ours: the other keeps it
        assert folder.is_locked_by_another()


def test_looking_at_the_lock_does_not_take_it(root: Path, folder: Folder) -> None:
    with open_again(root) as other:
        assert not other.is_locked_by_another()
        assert folder.lock()


def test_the_lock_is_waited_for_so_long_and_no_longer(root: Path, folder: Folder) -> None:
    folder.lock()
    with open_again(root) as other:
        began = time.monotonic()
        assert not other.lock(0.1)
        assert 0.1 <= time.monotonic() - began < 5


def test_a_lock_that_is_released_meanwhile_is_taken(
    root: Path, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.lock()
    pauses: list[float] = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 7:
            folder.unlock()

    monkeypatch.setattr(folder_module.time, "sleep", sleep)
    with open_again(root) as other:
        assert other.lock(10)
    assert pauses == [0.001, 0.002, 0.004, 0.008, 0.016, 0.02, 0.02]


@pytest.mark.parametrize("errno", [ENOSYS, EPERM])
def test_where_locks_are_refused_we_go_on_without(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, errno: int
) -> None:
    monkeypatch.setattr("fcntl.flock", refusing(errno))
    assert not folder.is_locked_by_another()
    assert folder.lock()
    folder.unlock()


def test_a_lock_that_fails_for_another_reason_is_an_error(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fcntl.flock", refusing(EIO))
    with pytest.raises(SetupError, match=r"locking .*/web: input/output error") as caught:
        folder.lock()
    assert caught.value.errno == EIO
    with pytest.raises(OSError, match="Input/output error"):
        folder.is_locked_by_another()


def test_a_lock_is_looked_at_by_sharing_it(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two who look at once neither takes the other for its owner."""
    calls: list[int] = []
    monkeypatch.setattr("fcntl.flock", lambda _, flags: calls.append(flags))
    assert not folder.is_locked_by_another()
    assert calls == [LOCK_SH | LOCK_NB, LOCK_UN]


# --- files ----------------------------------------------------------------------------------------


def test_what_was_written_is_read(root: Path, folder: Folder) -> None:
    text = "x" * (3 << 20) + "\udcff"
    folder.write("file", "before")
    folder.write("file", text)
    assert folder.read("file") == os.fsencode(text)
    assert os.listdir(root / "web") == ["file"]
    assert (root / "web/file").stat().st_mode & 0o7777 == 0o600


def test_a_file_that_is_not_there_is_none(folder: Folder) -> None:
    assert folder.read("file") is None


@pytest.mark.parametrize("kind", ["fifo", "folder"])
def test_only_regular_files_are_read(root: Path, folder: Folder, kind: str) -> None:
    """A FIFO would keep its reader waiting."""
    if kind == "fifo":
        os.mkfifo(root / "web/file")
    else:
        (root / "web/file").mkdir()
    before = open_fds()
    with pytest.raises(ContainerError, match=r"/web/file is not a regular file$"):
        folder.read("file")
    assert open_fds() == before


def test_no_link_is_followed(root: Path, folder: Folder) -> None:
    (root / "secret").write_text("secret")
    (root / "web/file").symlink_to(root / "secret")
    with pytest.raises(OSError, match="Too many levels"):
        folder.read("file")
    folder.write("file", "ours")
    assert (root / "secret").read_text() == "secret"


def test_a_write_that_fails_leaves_the_old_file(
    root: Path, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.write("file", "old")
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", refusing(EIO))
        with pytest.raises(SetupError, match=r"writing .*/web/file: input/output error"):
            folder.write("file", "new")
    assert folder.read("file") == b"old"
    assert os.listdir(root / "web") == ["file"]


def test_a_file_is_opened_close_on_exec(folder: Folder) -> None:
    fd = folder.open("file", os.O_WRONLY | os.O_CREAT)
    try:
        assert not os.get_inheritable(fd)
    finally:
        os.close(fd)


# --- the name -------------------------------------------------------------------------------------


def test_a_folder_that_was_moved_or_replaced_is_not_in_place(root: Path, folder: Folder) -> None:
    assert folder.is_in_place()
    assert folder.inode() == (root / "web").stat().st_ino
    (root / "web").rename(root / "elsewhere")
    assert not folder.is_in_place()
    (root / "web").mkdir()
    assert not folder.is_in_place()


def test_a_replaced_folder_loses_its_files_and_leaves_the_name(root: Path, folder: Folder) -> None:
    folder.write("file", "text")
    (root / "web").rename(root / "elsewhere")
    (root / "web").mkdir()
    (root / "web/kept").touch()
    folder.remove()
    assert os.listdir(root / "elsewhere") == []
    assert (root / "web/kept").exists()


def test_the_record_is_removed_last(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("state.json", "a", "z"):
        folder.write(name, "")
    removed: list[str] = []
    unlink = os.unlink

    def note(name: str, *, dir_fd: int) -> None:
        removed.append(name)
        unlink(name, dir_fd=dir_fd)

    monkeypatch.setattr(os, "unlink", note)
    folder.remove()
    assert sorted(removed[:2]) == ["a", "z"]
    assert removed[2:] == ["state.json"]


@pytest.mark.parametrize("times", [9, 10])
def test_a_file_that_comes_meanwhile_is_removed_too(
    root: Path, folder: Folder, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    """An update puts its file there; who does so for good is not waited for."""
    rmdir = os.rmdir
    tries: list[str] = []

    def busy(name: str, *, dir_fd: int) -> None:
        tries.append(name)
        if len(tries) <= times:
            folder.write("late", "")
            raise OSError(ENOTEMPTY, os.strerror(ENOTEMPTY))
        rmdir(name, dir_fd=dir_fd)

    monkeypatch.setattr(os, "rmdir", busy)
    if times < 10:
        folder.remove()
        assert not (root / "web").exists()
    else:
        with pytest.raises(SetupError, match=r"removing .*/web: directory not empty"):
            folder.remove()
    assert len(tries) == 10


def test_another_failure_to_remove_is_not_tried_again(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "rmdir", refusing(EACCES))
    with pytest.raises(SetupError, match=r"removing .*/web: permission denied"):
        folder.remove()


def test_what_a_killed_writer_has_left_does_not_refuse_the_next(folder: Folder, root: Path) -> None:
    """Numbers of threads are used again, and soon in a small pid namespace."""
    left = root / "web" / f".state.json.{threading.get_native_id()}"
    left.write_text("half")
    folder.write("state.json", "whole")
    assert (root / "web/state.json").read_text() == "whole"
    assert not left.exists()


def test_a_file_that_cannot_be_exchanged_leaves_no_other(folder: Folder, root: Path) -> None:
    (root / "web/state.json").mkdir()
    with pytest.raises(SetupError, match=r"writing .*/web/state\.json: is a directory"):
        folder.write("state.json", "text")
    assert os.listdir(root / "web") == ["state.json"]
