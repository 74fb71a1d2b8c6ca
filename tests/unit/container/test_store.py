"""The root directory: names, claims and locks, what is listed and what is removed.

Everything happens in a folder of the test; the attacks on a root directory are in tests/security/.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from ocirun.container import store as module
from ocirun.container.record import Record
from ocirun.container.store import DEFAULT_ROOT, MAX_ID_LENGTH, Store, check_id, default_root
from ocirun.errors import (
    ContainerError,
    ContainerExists,
    ContainerNotFound,
    OcirunError,
    SetupError,
    UsageError,
)

LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+-."


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store whose root directory is not there yet."""
    return Store(os.fspath(tmp_path / "root"))


@pytest.mark.parametrize("name", ["web", "a.b", ".a", "..a", "-", "_", "+", LETTERS, "a" * 255])
def test_a_plain_name_is_an_id(name: str) -> None:
    check_id(name)


@pytest.mark.parametrize(
    "name", [".", "..", "a/b", "/", "a b", "ü", "a\n", "a\0", "@seccomp", "a:b", "~", "a" * 256]
)
def test_a_name_that_could_lead_elsewhere_is_no_id(store: Store, name: str) -> None:
    """And no verb makes a path of it."""
    for call in (check_id, store.directory, store.claim, store.load, store.exists, store.remove):
        with pytest.raises(UsageError, match="^invalid container ID format: "):
            call(name)


def test_an_empty_id_is_refused_in_runcs_words() -> None:
    with pytest.raises(UsageError, match="^container id cannot be empty$"):
        check_id("")


def test_an_id_is_as_long_as_a_file_name_may_be(store: Store) -> None:
    name = "a" * MAX_ID_LENGTH
    store.release(store.claim(name))
    assert store.ids() == [name]


def test_the_root_directory_is_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert Store("root").directory("web") == f"{tmp_path}/root/web"


# --- which root directory -------------------------------------------------------------------------


def be(
    monkeypatch: pytest.MonkeyPatch, uid: int, *, mapped: bool, user: str | None, runtime_dir: str
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    text = b"0 1000 1" if mapped else b"         0          0 4294967295\n"
    monkeypatch.setattr(os, "read", lambda fd, size: text)  # noqa: ARG005  # /proc/self/uid_map
    monkeypatch.delenv("USER", raising=False)
    if user is not None:
        monkeypatch.setenv("USER", user)
    monkeypatch.setenv("XDG_RUNTIME_DIR", runtime_dir)


@pytest.mark.parametrize(
    ("uid", "mapped", "user", "runtime_dir", "root"),
    [
        (0, False, "root", "/run/user/0", DEFAULT_ROOT),
        (0, False, "alice", "/run/user/1000", DEFAULT_ROOT),  # sudo
        (0, True, "root", "/run/user/0", DEFAULT_ROOT),
        (0, True, "alice", "/run/user/1000", "/run/user/1000/ocirun"),  # rootless podman
        (0, True, None, "/run/user/1000", "/run/user/1000/ocirun"),
        (1000, False, "alice", "/run/user/1000", "/run/user/1000/ocirun"),
        (1000, True, "root", "/run/user/1000", "/run/user/1000/ocirun"),
        (1000, False, "alice", "", DEFAULT_ROOT),
        (0, True, "alice", "", DEFAULT_ROOT),
    ],
)
def test_real_root_has_the_default_and_others_their_own(
    monkeypatch: pytest.MonkeyPatch,
    uid: int,
    mapped: bool,
    user: str | None,
    runtime_dir: str,
    root: str,
) -> None:
    be(monkeypatch, uid, mapped=mapped, user=user, runtime_dir=runtime_dir)
    assert default_root() == root


def test_a_root_directory_is_private(store: Store) -> None:
    store.release(store.claim("web"))
    assert os.stat(store.root).st_mode & 0o7777 == 0o700
    assert os.stat(store.directory("web")).st_mode & 0o7777 == 0o700


def test_the_root_directory_of_a_session_is_sticky(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """So that cleaners leave it alone (XDG base directory specification)."""
    be(monkeypatch, 1000, mapped=False, user="u", runtime_dir=os.fspath(tmp_path))
    root = default_root()
    monkeypatch.undo()
    monkeypatch.setattr(module, "default_root", lambda: root)
    store = Store(root)
    store.release(store.claim("web"))
    assert os.stat(store.root).st_mode & 0o7777 == 0o1700


# --- claims ---------------------------------------------------------------------------------------


def test_an_id_is_claimed_once(store: Store) -> None:
    lock = store.claim("web")
    with pytest.raises(ContainerExists):
        store.claim("web")
    store.release(lock)
    with pytest.raises(ContainerExists):
        store.claim("web")


def test_a_container_is_being_made_until_its_maker_lets_go(store: Store) -> None:
    lock = store.claim("web")
    assert store.is_being_made("web")
    store.release(lock)
    assert not store.is_being_made("web")


def test_the_lock_ends_with_release_also_where_a_copy_of_it_is_open(store: Store) -> None:
    lock = store.claim("web")
    copy = os.dup(lock)
    store.release(lock)
    assert not store.is_being_made("web")
    os.close(copy)


def test_nothing_is_being_made_where_there_is_no_folder(store: Store) -> None:
    assert not store.is_being_made("web")


def test_a_lock_is_not_inherited(store: Store) -> None:
    lock = store.claim("web")
    assert not os.get_inheritable(lock)
    store.release(lock)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(lock)


def test_a_root_directory_that_cannot_be_made_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = Store(os.fspath(tmp_path / "file/root"))
    with pytest.raises(SetupError, match=f"^making the root directory {tmp_path}/file/root: "):
        store.claim("web")


# --- what is there --------------------------------------------------------------------------------


def test_a_root_that_is_not_there_has_no_containers(store: Store) -> None:
    assert store.ids() == []
    assert not store.exists("web")


def test_only_folders_with_an_id_for_a_name_are_listed_in_order(store: Store) -> None:
    for name in ("b", "a", "c"):
        store.release(store.claim(name))
    root = Path(store.root)
    (root / "@seccomp").mkdir()
    (root / "file").write_text("")
    assert store.ids() == ["a", "b", "c"]


def test_a_claimed_id_exists(store: Store) -> None:
    store.release(store.claim("web"))
    assert store.exists("web")
    assert not store.exists("other")


def test_a_record_is_read_back_as_it_was_written(store: Store) -> None:
    store.release(store.claim("web"))
    record = Record("web")
    record.bundle = os.fsdecode(b"/b\xff")
    record.init_process_pid = 42
    record.cgroup_paths = {"memory": "/a", "": "/b"}
    record.write(store.directory("web"))
    read = store.load("web")
    assert {name: getattr(read, name) for name in Record.__slots__} == {
        name: getattr(record, name) for name in Record.__slots__
    }


def test_no_folder_and_a_folder_without_record_are_no_container(store: Store) -> None:
    with pytest.raises(ContainerNotFound):
        store.load("web")
    store.release(store.claim("web"))
    with pytest.raises(ContainerNotFound):
        store.load("web")


@pytest.mark.parametrize("text", ["", "{", "[]", "7", "null", '"x"'])
def test_a_record_that_is_no_object_is_an_error_that_names_the_file(
    store: Store, text: str
) -> None:
    store.release(store.claim("web"))
    Path(store.directory("web"), "state.json").write_text(text)
    with pytest.raises(ContainerError, match=r"state\.json"):
        store.load("web")


# --- removal --------------------------------------------------------------------------------------


def test_a_container_is_removed_with_its_files(store: Store) -> None:
    store.release(store.claim("web"))
    store.release(store.claim("other"))
    folder = Path(store.directory("web"))
    (folder / "state.json").write_text("{}")
    os.mkfifo(folder / "start.fifo")
    (folder / "link").symlink_to("/etc")
    (folder / "notify").mkdir()
    (folder / "notify/file").write_text("")
    store.remove("web")
    assert store.ids() == ["other"]


def test_what_is_gone_already_is_removed(store: Store) -> None:
    store.remove("web")


@pytest.mark.parametrize("number", [28, 30])  # ENOSPC, EROFS
def test_the_kernels_words_are_in_lower_case(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """As in every other sentence: callers look for them in the text."""
    store = Store(os.fspath(tmp_path))

    def refuse(path: str, mode: int) -> None:
        raise OSError(number, os.strerror(number), path, mode)

    monkeypatch.setattr(os, "mkdir", refuse)
    words = os.strerror(number)
    with pytest.raises(OcirunError, match=f"web: {words[:1].lower()}{words[1:]}$"):
        store.claim("web")


def test_a_folder_that_a_container_has_filled_is_removed(tmp_path: Path) -> None:
    """Deeper than any path and any recursion, and nothing goes that a link leads to."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("")
    store = Store(os.fspath(tmp_path / "root"))
    os.close(store.claim("web"))
    notify = tmp_path / "root/web/notify"
    notify.mkdir()
    (notify / "link").symlink_to(outside)
    fd = os.open(notify, os.O_RDONLY)
    for level in range(1500):
        os.close(os.open(f"file{level}", os.O_CREAT, dir_fd=fd))
        os.mkdir("d" * 200, dir_fd=fd)
        inner = os.open("d" * 200, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = inner
    os.close(fd)
    try:
        store.remove("web")
        assert not (tmp_path / "root/web").exists()
    finally:  # pytest, which would, cannot
        subprocess.run(["rm", "-rf", tmp_path / "root"], check=True)
    assert (outside / "kept").exists()
