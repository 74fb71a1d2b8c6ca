"""The record of a container: what is written is read again, and what is damaged is refused."""

from __future__ import annotations

import json
import os
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from harness.records import new_record

from ocirun.container.record import LARGEST_PID, Record, read_config, write_config
from ocirun.errors import DamagedRecord

LONG = "/" + "x" * 2500


@pytest.fixture
def record(tmp_path: Path) -> Generator[Record]:
    """A record with a value in every member that is not the one it begins with."""
    with new_record(tmp_path / "root", "web") as made:
        made.oci_version = "1.2.0"
        made.bundle = "/bundle"
        made.init_process_pid = 4711
        made.init_process_start = 815
        made.cgroup_paths = {"memory": "/sys/fs/cgroup/memory/web", "": "/sys/fs/cgroup/web"}
        made.cgroup_manager = "systemd"
        made.cgroup_inode = 42
        made.systemd_unit = "web.scope"
        made.annotations = {"a": "b"}
        made.hooks = ["poststop"]
        made.no_new_keyring = True
        made.private_pid = False
        yield made


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "root/web/state.json"


def spoil(state: Path, **members: Any) -> None:  # noqa: ANN401  # whatever JSON has
    """Change members of the file; `...` removes one."""
    fields = json.loads(state.read_text()) | members
    state.write_text(json.dumps({name: one for name, one in fields.items() if one is not ...}))


def read(record: Record) -> Record | None:
    return Record.read(record.directory)


def test_what_was_written_is_read_again(record: Record) -> None:
    record.write()
    found = read(record)
    assert found is not None
    for name in Record.__slots__:
        assert getattr(found, name) == getattr(record, name)


def test_a_folder_without_a_file_has_no_record_yet(record: Record) -> None:
    assert read(record) is None


def test_a_new_record_is_of_a_container_whose_init_is_not_there(tmp_path: Path) -> None:
    with new_record(tmp_path, "new") as record:
        assert (record.init_process_pid, record.init_process_start, record.init_pidfd) == (0, 0, -1)
        assert (record.owner, record.cgroup_inode) == (0, 0)
        assert record.private_pid
        assert not record.no_new_keyring


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"id": "other"}, "it is of container other"),
        ({"folder_inode": 1}, "it is a copy of another container's"),
        ({"id": ...}, "it has no id"),
        ({"private_pid": ...}, "it has no private_pid"),
        ({"cgroup_paths": ...}, "it has no cgroup_paths"),
        ({"private_pid": 1}, "private_pid is of another type"),
        ({"init_process_pid": True}, "init_process_pid is of another type"),
        ({"hooks": [1]}, "hooks is of another type"),
        ({"annotations": {"a": 1}}, "annotations is of another type"),
        ({"bundle": None}, "bundle is of another type"),
        ({"init_process_pid": -1}, "init_process_pid is no process"),
        ({"init_process_pid": LARGEST_PID + 1}, "init_process_pid is no process"),
        ({"init_process_pid": 1 << 22}, None),
        ({"init_process_pid": 0, "init_process_start": 0}, None),
        ({"init_process_start": -1}, "init_process_pid is no process"),
        ({"cgroup_manager": "docker"}, "cgroup_manager is unknown"),
        ({"cgroup_manager": ...}, None),
        ({"cgroup_paths": {"": "relative"}}, "cgroup_paths has one that is not absolute"),
        ({"cgroup_paths": {"": "/a/../b"}}, "cgroup_paths has one that is not absolute"),
        ({"cgroup_paths": {"": "/a/.."}}, "cgroup_paths has one that is not absolute"),
        ({"cgroup_paths": {"": "/a..b/..."}}, None),
        ({"of_a_later_version": 1}, None),
        ({"folder_inode": ...}, None),  # records of before it was kept
    ],
)
def test_a_damaged_record_is_refused_with_what_is_wrong(
    record: Record, state: Path, members: dict[str, Any], words: str | None
) -> None:
    record.write()
    spoil(state, **members)
    if words is None:
        assert read(record) is not None
    else:
        with pytest.raises(DamagedRecord, match=rf"state\.json is damaged: {words}$"):
            read(record)


@pytest.mark.parametrize("text", ["", "[]", "1", "{", '{"a": 1, "a": 2}'])
def test_a_file_that_holds_no_object_is_damaged(record: Record, state: Path, text: str) -> None:
    state.write_text(text)
    with pytest.raises(DamagedRecord, match=r"state\.json is damaged"):
        read(record)


@pytest.mark.parametrize("kind", ["link", "fifo"])
def test_a_file_that_is_no_file_is_damaged(record: Record, state: Path, kind: str) -> None:
    if kind == "link":
        state.symlink_to("/dev/null")
    else:
        os.mkfifo(state)
    with pytest.raises(DamagedRecord, match=r"state\.json"):
        read(record)


# --- the link -------------------------------------------------------------------------------------


def test_the_link_repeats_what_finds_the_processes(record: Record) -> None:
    record.write_init()
    found = Record.recover(record.directory)
    assert found is not None
    for name in ("init_process_pid", "init_process_start", "private_pid", "cgroup_paths"):
        assert getattr(found, name) == getattr(record, name)
    assert (found.bundle, found.systemd_unit, found.cgroup_inode) == ("/bundle", "web.scope", 42)


@pytest.mark.parametrize(
    ("bundle", "path", "kept"),
    [
        ("/b", LONG, ("/b", {"": LONG})),
        (LONG, "/c", (LONG, {"": "/c"})),
        (LONG, LONG, ("", {"": LONG})),
        ("/b", LONG * 2, ("", {})),
    ],
)
def test_a_link_that_would_be_too_long_leaves_out_the_least_important(
    record: Record, bundle: str, path: str, kept: tuple[str, dict[str, str]]
) -> None:
    record.bundle, record.cgroup_paths = bundle, {"": path}
    record.write_init()
    found = Record.recover(record.directory)
    assert found is not None
    assert (found.bundle, found.cgroup_paths) == kept
    assert found.init_process_pid == 4711


def test_a_renamed_folder_is_still_found_by_its_link(record: Record, tmp_path: Path) -> None:
    record.write_init()
    (tmp_path / "root/web").rename(tmp_path / "root/other")
    record.directory.id = "other"
    found = Record.recover(record.directory)
    assert found is not None
    assert found.id == "other"


@pytest.mark.parametrize("text", ["", "nonsense", "[]", "{}", '{"folder_inode": 1}'])
def test_a_link_that_is_no_record_is_none(record: Record, tmp_path: Path, text: str) -> None:
    if text:
        (tmp_path / "root/web/init").symlink_to(text)
    assert Record.recover(record.directory) is None


# --- what others are shown ------------------------------------------------------------------------


def test_the_state_has_the_members_of_the_specification(record: Record) -> None:
    state = {
        "ociVersion": "1.2.0",
        "id": "web",
        "status": "running",
        "pid": 4711,
        "bundle": "/bundle",
        "annotations": {"a": "b"},
    }
    assert record.state("running") == state
    record.annotations = {}
    del state["annotations"]
    assert record.state("stopped") == state | {"status": "stopped", "pid": 0}


def test_the_kept_configuration_is_read_again_and_checked(record: Record, tmp_path: Path) -> None:
    config: Any = {"ociVersion": "1.2.0", "root": {"path": "rootfs"}}
    with pytest.raises(DamagedRecord, match=r"config\.json is gone"):
        read_config(record.directory)
    write_config(record.directory, config)
    assert read_config(record.directory) == config
    (tmp_path / "root/web/config.json").write_text('{"ociVersion": 1}')
    with pytest.raises(DamagedRecord, match="it is no configuration"):
        read_config(record.directory)


def test_closing_twice_closes_once(record: Record) -> None:
    record.init_pidfd = os.open("/dev/null", os.O_RDONLY)
    before = len(os.listdir("/proc/self/fd"))
    record.close_init()
    assert record.init_pidfd == -1
    assert len(os.listdir("/proc/self/fd")) == before - 1
    record.close()
    record.close()
