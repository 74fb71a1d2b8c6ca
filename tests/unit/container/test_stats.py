"""Counters of containers that stop or lose their cgroup while somebody reads."""

from __future__ import annotations

from pathlib import Path

import pytest
from harness.records import new_record

from ocirun.container import stats
from ocirun.container.record import Record
from ocirun.container.stats import for_json, read_stats
from ocirun.errors import ContainerError, WrongStatus


@pytest.fixture
def record(tmp_path: Path) -> Record:
    directory = tmp_path / "cgroup"
    directory.mkdir()
    (directory / "pids.current").write_text("3\n")
    made = new_record(tmp_path / "state", "web")
    made.init_process_pid = 7
    made.cgroup_paths = {"": str(directory)}
    return made


def read(record: Record, monkeypatch: pytest.MonkeyPatch, status: str) -> stats.Stats:
    monkeypatch.setattr(stats, "status_of", lambda *_: status)
    return read_stats(record)


@pytest.mark.parametrize("status", ["created", "running", "paused", "creating"])
def test_one_that_is_there(record: Record, monkeypatch: pytest.MonkeyPatch, status: str) -> None:
    found = read(record, monkeypatch, status)
    assert found["pids"]["current"] == 3
    assert (found["intel_rdt"], found["network_interfaces"]) == ({}, None)


def test_one_that_stopped_meanwhile(record: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(WrongStatus, match=r"^container with id web is not running$"):
        read(record, monkeypatch, "stopped")


def test_one_that_is_not_made_yet(record: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    record.init_process_pid = 0
    with pytest.raises(WrongStatus, match="is not running"):
        read(record, monkeypatch, "creating")


def test_one_whose_cgroup_was_taken_away(record: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    record.cgroup_paths = {"": "/nonexistent"}
    with pytest.raises(ContainerError, match=r"^the cgroup of container web does not exist$"):
        read(record, monkeypatch, "running")


def test_one_that_has_no_cgroup(record: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    record.cgroup_paths = {}
    shown = for_json(read(record, monkeypatch, "running"))
    assert (shown["pids"], shown["blkio"], shown["hugetlb"]) == ({}, {}, {})
