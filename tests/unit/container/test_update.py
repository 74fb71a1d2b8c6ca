"""An update that does not come to its end; the container and its cgroup are recorded ones."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from harness.records import new_record

from ocirun.container import update as module
from ocirun.container.record import Record, read_config, write_config
from ocirun.container.status import CREATING, RUNNING, STOPPED
from ocirun.container.store import Store
from ocirun.container.update import update
from ocirun.errors import ContainerNotFound, SetupError, UsageError, WrongStatus

BEFORE: dict[str, Any] = {"memory": {"limit": 64}, "pids": {"limit": 20}}
ASKED: Any = {"memory": {"limit": 32}, "pids": {"limit": 9}, "cpu": {"shares": 5}}


class Recorded:
    """A container's cgroup that keeps what is written, and breaks at one section."""

    def __init__(self) -> None:
        self.manager = "cgroupfs"
        self.updates: list[Any] = []
        self.broken: dict[str, BaseException] = {}

    def update(self, resources: dict[str, Any]) -> None:
        self.updates.append(resources)
        for name in resources:
            if name in self.broken:
                raise self.broken[name]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(str(tmp_path))
    record = new_record(tmp_path, "web")
    record.write()
    write_config(record.directory, {"ociVersion": "1.2.0", "linux": {"resources": BEFORE}})  # type: ignore[typeddict-item]
    return store


@pytest.fixture
def cgroup(monkeypatch: pytest.MonkeyPatch) -> Recorded:
    recorded = Recorded()
    monkeypatch.setattr(module, "cgroup_of", lambda _: recorded)
    monkeypatch.setattr(module, "status_of", lambda *_: RUNNING)
    return recorded


def linux(store: Store) -> Any:  # noqa: ANN401
    return read_config(store.open("web"))["linux"]


def resources(store: Store) -> Any:  # noqa: ANN401
    return linux(store)["resources"]


def remove(store: Store) -> None:
    with store.open("web") as folder:
        assert folder.lock()
        folder.remove()


def test_all_went_well(store: Store, cgroup: Recorded) -> None:
    update(store, "web", ASKED, {})
    assert cgroup.updates == [ASKED]
    assert resources(store) == ASKED
    assert sorted(os.listdir(f"{store.root}/web")) == ["config.json", "state.json"]


@pytest.mark.parametrize(
    "failure", [SetupError("refused"), KeyboardInterrupt(), FileNotFoundError(2, "No such file")]
)
def test_what_breaks_is_taken_back_section_by_section(
    store: Store, cgroup: Recorded, failure: BaseException
) -> None:
    cgroup.broken["cpu"] = failure
    with pytest.raises(BaseException, match=r"refused|no such file|^$") as caught:
        update(store, "web", ASKED, {})
    back = [{"memory": {"limit": 64}}, {"pids": {"limit": 20}}, {"cpu": {"shares": 1024}}]
    if isinstance(failure, KeyboardInterrupt):
        assert cgroup.updates[:3] == [ASKED, *back[:2]]
    else:
        assert cgroup.updates == [ASKED, *back]
        assert any("restoring cpu" in note for note in caught.value.__notes__)
    assert resources(store) == BEFORE


def test_what_cannot_be_remembered_is_taken_back(
    store: Store, cgroup: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise SetupError("writing config.json: no space left on device", 28)

    monkeypatch.setattr(module, "write_config", full)
    with pytest.raises(SetupError, match="no space left"):
        update(store, "web", {"pids": {"limit": 9}}, {})
    assert cgroup.updates == [{"pids": {"limit": 9}}, {"pids": {"limit": 20}}]


def test_a_container_that_ends_meanwhile(
    store: Store, cgroup: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    cgroup.broken["cpu"] = SetupError("no such file or directory", 2)
    said = iter([RUNNING, STOPPED])
    monkeypatch.setattr(module, "status_of", lambda *_: next(said))
    with pytest.raises(WrongStatus, match="container not running"):
        update(store, "web", ASKED, {})


def test_a_container_that_is_deleted_meanwhile(
    store: Store, cgroup: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Security: another one of the same id, made at once, must not get the old configuration."""

    def replaced(_: dict[str, Any]) -> None:
        remove(store)
        record = new_record(Path(store.root), "web")
        record.write()
        write_config(record.directory, {"ociVersion": "1.2.0", "linux": {}})

    monkeypatch.setattr(cgroup, "update", replaced)
    with pytest.raises(ContainerNotFound):
        update(store, "web", {"pids": {"limit": 9}}, {})
    assert linux(store) == {}

    monkeypatch.setattr(cgroup, "update", lambda _: remove(store))
    with pytest.raises(ContainerNotFound):
        update(store, "web", {"pids": {"limit": 9}}, {})
    assert os.listdir(store.root) == []


def test_who_waited_for_another_file_of_the_record_waits_for_the_new_one(
    store: Store, cgroup: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ocirun.kernel import locks

    locked: list[int] = []
    lock = locks.lock

    def exchanged(fd: int) -> None:
        locked.append(os.fstat(fd).st_ino)
        if len(locked) == 1:
            Record(store.open("web")).write()
        lock(fd)

    monkeypatch.setattr(locks, "lock", exchanged)
    update(store, "web", {"pids": {"limit": 9}}, {})
    assert len({*locked}) == 2
    assert cgroup.updates == [{"pids": {"limit": 9}}]


@pytest.mark.parametrize(
    ("status", "words"), [(STOPPED, "container not running"), (CREATING, "is being created")]
)
def test_a_status_that_cannot_be_updated(
    store: Store, cgroup: Recorded, monkeypatch: pytest.MonkeyPatch, status: str, words: str
) -> None:
    monkeypatch.setattr(module, "status_of", lambda *_: status)
    with pytest.raises(WrongStatus, match=words):
        update(store, "web", ASKED, {})
    assert cgroup.updates == []


def test_nothing_to_update(store: Store, cgroup: Recorded) -> None:
    cgroup.manager = "disabled"
    update(store, "web", {}, {})
    with pytest.raises(UsageError, match="has no cgroup of its own"):
        update(store, "web", {"pids": {"limit": 9}}, {})
    with pytest.raises(UsageError, match="has no intelRdt"):
        update(store, "web", {}, {"memBwSchema": "MB:0=10"})
    with pytest.raises(ContainerNotFound):
        update(store, "other", {}, {})
