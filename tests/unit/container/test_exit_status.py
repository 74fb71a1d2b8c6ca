"""The exit status beside the record: what is not ours to read is no status."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ocirun.container.exit_status import EXIT_FILE, kept_exit
from ocirun.container.store import Store

FIELDS = {"pid": 7, "start": 1, "returncode": -9}
RECORD = {"id": "web", "init_process_pid": 7, "init_process_start": 1, "private_pid": True}


@pytest.fixture
def web(tmp_path: Path) -> Path:
    web = tmp_path / "state" / "web"
    web.mkdir(parents=True)
    for folder in (web, web.parent):
        folder.chmod(0o700)
    (web / "state.json").write_text(json.dumps({**RECORD, "cgroup_paths": {}}))
    return web


def status(web: Path) -> int | None:
    with Store(os.fspath(web.parent)).load("web") as record:
        return kept_exit(record)


def test_the_status_of_this_init_is_read(web: Path) -> None:
    assert status(web) is None
    (web / EXIT_FILE).write_text(json.dumps(FIELDS))
    assert status(web) == -9
    (web / EXIT_FILE).write_text(json.dumps({**FIELDS, "start": 2}))
    assert status(web) is None


@pytest.mark.parametrize(
    "make",
    [os.mkfifo, os.mkdir, lambda path: os.symlink("state.json", path), lambda path: path.touch()],
    ids=["fifo", "folder", "link", "empty"],
)
def test_anything_else_is_no_status(web: Path, make: Callable[[Path], None]) -> None:
    make(web / EXIT_FILE)
    assert status(web) is None
