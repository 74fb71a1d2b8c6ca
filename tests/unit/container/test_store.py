"""The root directory: where it is, how it is made, what is a container in it, what is refused."""

from __future__ import annotations

import fcntl
import os
import stat
import subprocess
from errno import EMFILE
from pathlib import Path

import pytest
from harness.records import new_folder

from ocirun.container import store as store_module
from ocirun.container.record import Record
from ocirun.container.store import DEFAULT_ROOT, Store, check_id, default_root
from ocirun.errors import (
    ContainerExists,
    ContainerNotFound,
    DamagedRecord,
    OcirunError,
    SetupError,
    UsageError,
)


@pytest.mark.parametrize("number", [28, 30])  # ENOSPC, EROFS
def test_the_kernels_words_are_in_lower_case(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """As in every other sentence: callers look for them in the text."""
    store = Store(os.fspath(tmp_path))

    def refuse(path: str, mode: int, *, dir_fd: int) -> None:
        raise OSError(number, os.strerror(number), path, mode, dir_fd)

    monkeypatch.setattr(os, "mkdir", refuse)
    words = os.strerror(number)
    with pytest.raises(OcirunError, match=f"web: {words[:1].lower()}{words[1:]}$"):
        store.claim("web")


def test_a_folder_that_a_container_has_filled_is_removed(tmp_path: Path) -> None:
    """Deeper than any path and any recursion, and nothing goes that a link leads to."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("")
    folder = new_folder(tmp_path / "root", "web")
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
        folder.remove()
        assert not (tmp_path / "root/web").exists()
    finally:  # pytest, which would, cannot
        subprocess.run(["rm", "-rf", tmp_path / "root"], check=True)
    assert (outside / "kept").exists()


def test_root_has_the_fixed_root_whatever_its_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    set_caller(monkeypatch, uid=0, mapped=False, XDG_RUNTIME_DIR="/run/user/0", USER="somebody")
    assert default_root() == DEFAULT_ROOT


def test_an_ordinary_user_has_a_root_below_the_runtime_directory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    set_caller(monkeypatch, uid=1000, mapped=False, XDG_RUNTIME_DIR="/run/user/1000", USER="root")
    assert default_root() == "/run/user/1000/ocirun"


@pytest.mark.parametrize(("user", "root"), [("u1", "/run/user/1/ocirun"), ("root", DEFAULT_ROOT)])
def test_root_of_a_user_namespace_has_its_own_root_unless_it_is_called_root(
    monkeypatch: pytest.MonkeyPatch, user: str, root: str
) -> None:
    set_caller(monkeypatch, uid=0, mapped=True, XDG_RUNTIME_DIR="/run/user/1", USER=user)
    assert default_root() == root


def test_a_user_without_a_runtime_directory_has_the_fixed_root(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    set_caller(monkeypatch, uid=1000, mapped=False, USER="u1")
    assert default_root() == DEFAULT_ROOT


def set_caller(
    monkeypatch: pytest.MonkeyPatch, *, uid: int, mapped: bool, **environment: str
) -> None:
    """Pretend to be the user `uid` with these variables; `mapped`: in a user namespace."""
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    monkeypatch.setattr("ocirun.kernel.procstat.is_in_user_namespace", lambda: mapped)


@pytest.mark.parametrize("good", ["a", "0_+-.", "..a", "x" * 255])
def test_an_id_of_plain_characters_is_accepted(good: str) -> None:
    check_id(good)


@pytest.mark.parametrize("bad", ["", ".", "..", "x" * 256, "a/b", "a b", "ä", "a\n", "@seccomp"])
def test_an_id_that_is_no_plain_name_is_refused(bad: str) -> None:
    with pytest.raises(UsageError, match=r"cannot be empty|invalid container ID"):
        check_id(bad)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_root_and_its_parents_are_ours_alone(tmp_path: Path) -> None:
    root = tmp_path / "above" / "parent" / "root"
    old = os.umask(0)
    try:
        Store(str(root)).claim("web").close()
    finally:
        os.umask(old)
    assert [mode_of(path) for path in (root.parent.parent, root.parent)] == [0o700, 0o700]
    assert mode_of(root) == 0o700
    assert mode_of(root / "web") == 0o700


def test_the_default_root_of_a_user_is_sticky_so_that_session_cleaners_leave_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "default_root", lambda: f"{tmp_path}/ocirun")
    Store(f"{tmp_path}/ocirun").claim("web").close()
    assert mode_of(tmp_path / "ocirun") == 0o1700


def test_an_id_is_claimed_once(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "root"))
    with pytest.raises(ContainerNotFound):
        store.open("web")
    folder = store.claim("web")
    try:
        assert folder.is_in_place()
        with pytest.raises(ContainerExists):
            store.claim("web")
    finally:
        folder.close()
    store.open("web").close()


def test_only_folders_of_ours_with_a_containers_name_are_containers(tmp_path: Path) -> None:
    root = tmp_path / "root"
    assert Store(str(root)).ids() == []
    for name in ("web", "db"):
        new_folder(root, name).close()
    (root / "@seccomp").mkdir(mode=0o700)
    (root / "file").write_text("")
    (root / "link").symlink_to(root / "web")
    (root / "open").mkdir()
    (root / "open").chmod(0o777)
    assert Store(str(root)).ids() == ["db", "web"]


def test_a_folder_without_a_record_is_no_container_yet(tmp_path: Path) -> None:
    new_folder(tmp_path / "root", "web").close()
    with pytest.raises(ContainerNotFound):
        Store(str(tmp_path / "root")).load("web")


def test_a_folder_that_lost_its_record_is_a_damaged_container(tmp_path: Path) -> None:
    """The link `init` is still there: a container was made here."""
    folder = new_folder(tmp_path / "root", "web")
    try:
        record = Record(folder)
        record.init_process_pid, record.init_process_start = 4711, 1
        record.write_init()
        (tmp_path / "root/web/state.json").unlink()
    finally:
        folder.close()
    with pytest.raises(DamagedRecord, match=r"state\.json is gone"):
        Store(str(tmp_path / "root")).load("web")


@pytest.mark.parametrize("call", ["dup", "open", "flock"])
def test_a_claim_that_fails_leaves_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """The id would be taken for good."""
    store = Store(os.fspath(tmp_path))
    before = sorted(os.listdir("/proc/self/fd"))

    def refuse(*_: object, **__: object) -> None:
        raise OSError(EMFILE, os.strerror(EMFILE))

    with monkeypatch.context() as patch:
        if call == "flock":
            patch.setattr(fcntl, "flock", refuse)
        elif call == "dup":
            patch.setattr(os, "dup", refuse)
        else:
            real = os.open
            patch.setattr(
                os, "open", lambda path, *a, **k: refuse() if path == "web" else real(path, *a, **k)
            )
        with pytest.raises(SetupError, match="too many open files"):
            store.claim("web")
    assert sorted(os.listdir("/proc/self/fd")) == before
    assert os.listdir(tmp_path) == []
