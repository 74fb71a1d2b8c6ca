"""What containers use now, from counters that a make-believe kernel gives."""
# ruff: noqa: ANN401  # documents are JSON

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from harness.records import new_record

from ocirun.cgroups.stat import stat
from ocirun.container import usage
from ocirun.container.folder import Folder, open_root
from ocirun.container.record import Record
from ocirun.container.store import Store
from ocirun.container.usage import Monitor
from ocirun.errors import ContainerNotFound, SetupError, WrongStatus

SECOND = 1_000_000_000


class World:
    """Containers by id: their status and their counters; and a clock."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.store = Store(str(folder))
        self.moment = 0
        self.statuses: dict[str, str] = {}
        self.counters: dict[str, Any] = {}
        self.starts: dict[str, int] = {}
        monkeypatch.setattr(usage, "status_of", lambda record: self.statuses[record.id])
        monkeypatch.setattr(usage, "read_stats", self.read)
        monkeypatch.setattr(usage.time, "monotonic_ns", lambda: self.moment)
        monkeypatch.setattr(Store, "load", lambda _, container_id: self.load(container_id))
        monkeypatch.setattr(Store, "ids", lambda _: sorted(self.statuses))

    def add(self, container_id: str, status: str = "running", start: int = 1) -> Any:
        self.statuses[container_id] = status
        self.starts[container_id] = start
        self.counters[container_id] = {**stat({}), "intel_rdt": {}, "network_interfaces": None}
        return self.counters[container_id]

    def load(self, container_id: str) -> Record:
        if container_id not in self.statuses:
            raise ContainerNotFound(container_id)
        try:
            record = Record(Folder(open_root(str(self.folder)), str(self.folder), container_id))
        except ContainerNotFound:
            record = new_record(self.folder, container_id)
        record.init_process_pid = 7
        record.cgroup_paths = {"": "/sys/fs/cgroup/ocirun"}
        record.init_process_start = self.starts[container_id]
        return record

    def read(self, record: Record) -> Any:
        found = self.counters[record.id]
        if isinstance(found, Exception):
            raise found
        return copy.deepcopy(found)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(tmp_path, monkeypatch)


def entry(operation: str, value: int) -> dict[str, Any]:
    return {"major": 8, "minor": 0, "op": operation, "value": value}


def test_rates_are_of_the_time_between_two_looks(world: World) -> None:
    counters = world.add("web")
    monitor = Monitor(world.store)
    counters["cpu"]["usage"]["total"] = 5 * SECOND
    counters["blkio"]["ioServiceBytesRecursive"] = [entry("Read", 100), entry("Write", 50)]
    first = monitor.look()[0]
    assert (first.cpu_percent, first.read_rate, first.write_rate) == (None, None, None)
    world.moment += 2 * SECOND
    counters["cpu"]["usage"]["total"] += SECOND
    counters["blkio"]["ioServiceBytesRecursive"] = [
        entry("Read", 2100),
        entry("Write", 50),
        entry("Total", 99999),
    ]
    second = monitor.look()[0]
    assert (second.cpu_percent, second.read_rate, second.write_rate) == (50.0, 1000, 0)
    assert second.cpu_history == [50.0]


def test_more_than_one_processor(world: World) -> None:
    counters = world.add("web")
    monitor = Monitor(world.store)
    monitor.look()
    world.moment += SECOND
    counters["cpu"]["usage"]["total"] += 3 * SECOND + 12_345_678
    assert monitor.look()[0].cpu_percent == 301.2


def test_a_container_made_again_begins_anew(world: World) -> None:
    world.add("web")["cpu"]["usage"]["total"] = 9 * SECOND
    monitor = Monitor(world.store)
    for _ in range(3):
        monitor.look()
        world.moment += SECOND
    world.add("web", start=2)
    again = monitor.look()[0]
    assert (again.cpu_percent, again.cpu_history, again.memory_history) == (None, [], [0])


def test_a_counter_that_went_back_is_no_negative_rate(world: World) -> None:
    counters = world.add("web")
    counters["cpu"]["usage"]["total"] = SECOND
    monitor = Monitor(world.store)
    monitor.look()
    counters["cpu"]["usage"]["total"] = 0
    assert monitor.look()[0].cpu_percent == 0  # and no time went by


def test_the_history_does_not_grow_for_ever(world: World) -> None:
    world.add("web")
    monitor = Monitor(world.store)
    for _ in range(200):
        found = monitor.look()
        world.moment += SECOND
    assert len(found[0].cpu_history) == len(found[0].memory_history) == usage.REMEMBERED


@pytest.mark.parametrize(
    ("raw", "in_use"),
    [
        ({"inactive_file": 300}, 700),
        ({"inactive_file": 1, "total_inactive_file": 400}, 600),
        ({"inactive_file": 5000}, 0),
        ({}, 1000),
    ],
)
def test_memory_without_what_can_be_taken_back(
    world: World, raw: dict[str, int], in_use: int
) -> None:
    counters = world.add("web")
    counters["memory"]["usage"]["usage"] = 1000
    counters["memory"]["raw"] = raw
    assert Monitor(world.store).look()[0].memory == in_use


@pytest.mark.parametrize(
    ("limit", "shown"), [(0, None), (2**63 - 4096, None), (2**64 - 1, None), (4096, 4096)]
)
def test_an_unlimited_memory_limit_is_shown_as_none(
    world: World, limit: int, shown: int | None
) -> None:
    world.add("web")["memory"]["usage"]["limit"] = limit
    assert Monitor(world.store).look()[0].memory_limit == shown


def test_those_that_run_come_and_go(world: World) -> None:
    world.add("a")
    world.add("b", "paused")
    world.add("c", "created")
    world.add("d", "stopped")
    monitor = Monitor(world.store)
    assert [found.id for found in monitor.look()] == ["a", "b"]
    del world.statuses["a"]
    world.add("e")
    assert [found.id for found in monitor.look()] == ["b", "e"]


def test_those_asked_for_stay(world: World) -> None:
    world.add("a")
    world.add("b")
    monitor = Monitor(world.store, ["b", "a", "b"])
    assert [(found.id, found.status) for found in monitor.look()] == [
        ("b", "running"),
        ("a", "running"),
    ]
    world.statuses["a"] = "stopped"
    del world.statuses["b"]
    assert [(found.id, found.status) for found in monitor.look()] == [
        ("b", "gone"),
        ("a", "stopped"),
    ]


def test_an_id_that_nobody_has_is_refused(world: World) -> None:
    world.add("a")
    with pytest.raises(ContainerNotFound):
        Monitor(world.store, ["a", "b"])


@pytest.mark.parametrize(
    ("error", "status"),
    [(WrongStatus("a", "stopped", "…"), "stopped"), (SetupError("…", 5), "unreadable")],
)
def test_one_that_cannot_be_read_hides_no_other(
    world: World, error: Exception, status: str
) -> None:
    world.add("a")
    world.add("b")
    world.counters["a"] = error
    assert [found.status for found in Monitor(world.store, ["a", "b"]).look()] == [
        status,
        "running",
    ]


def test_json_has_every_key(world: World) -> None:
    world.add("a", "stopped")
    world.add("b")["cpu"]["psi"] = {"some": {"avg10": 1.5}, "full": {"avg10": 0}}
    stopped, running = (found.for_json() for found in Monitor(world.store, ["a", "b"]).look())
    assert stopped == {
        "id": "a",
        "status": "stopped",
        "cpu": {"percent": None, "total": None},
        "memory": {"usage": None, "in_use": None, "limit": None},
        "pids": {"current": None, "limit": None},
        "io": dict.fromkeys(("read", "write", "read_per_second", "write_per_second")),
        "pressure": None,
    }
    assert running["pressure"] == {"cpu": 1.5}
