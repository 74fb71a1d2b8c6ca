"""A record that this program has written is not read again while its file is the same."""

from __future__ import annotations

from pathlib import Path

import pytest
from harness.records import new_record

from ocirun.container.folder import Folder
from ocirun.container.record import Record
from ocirun.container.store import Store
from ocirun.container.written import Written
from ocirun.errors import DamagedRecord


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A state root with the container "web", of which `written` is kept."""
    found = Store(f"{tmp_path}/root")
    with new_record(tmp_path / "root", "web") as record:
        record.cgroup_paths = {"memory": "/sys/fs/cgroup/memory/web"}
        record.write()
        found.written = Written(record)
    return found


def test_it_is_not_read_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with store.load("web") as read:
        written = store.written
        store.written = None
        with store.load("web") as again:
            fields = [getattr(again, name) for name in Record.__slots__[:-3]]
        assert [getattr(read, name) for name in Record.__slots__[:-3]] == fields
    store.written = written
    monkeypatch.setattr(Folder, "read", lambda *_: pytest.fail("it was read"))
    with store.load("web") as read:
        read.cgroup_paths.clear()
    with store.load("web") as read:
        assert read.cgroup_paths == {"memory": "/sys/fs/cgroup/memory/web"}


def test_what_another_has_written_is_read(store: Store) -> None:
    other = Store(store.root)
    with other.load("web") as record:
        record.bundle = "/b"
        record.write()
    with store.load("web") as read:
        assert read.bundle == "/b"


def test_what_is_damaged_is_noticed(store: Store) -> None:
    Path(store.root, "web", "state.json").write_text("{")
    with pytest.raises(DamagedRecord):
        store.load("web")
    Path(store.root, "web", "state.json").unlink()
    with store.open("web") as folder:
        assert Record.read(folder) is None


def test_a_copy_of_the_folder_is_another_container(store: Store, tmp_path: Path) -> None:
    copy = tmp_path / "root" / "copy"
    copy.mkdir(mode=0o700)
    (copy / "state.json").hardlink_to(tmp_path / "root" / "web" / "state.json")
    with pytest.raises(DamagedRecord):
        store.load("copy")
