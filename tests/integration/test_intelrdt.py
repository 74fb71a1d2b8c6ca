"""linux.intelRdt: refused where resctrl is not mounted; through create, exec and delete where a
recorded tree stands for it.

Source: runtime-spec config-linux.md#intelrdt; docs/runc-compat/init.md#resctrl. The tree's own
rules are tested in unit/resctrl/test_resctrl_group.py.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from harness.box import Box
from harness.limits import limits_of
from harness.needs import needs
from harness.peers import peer_deviates

from ocirun import Container
from ocirun.container.create import create
from ocirun.container.delete import delete
from ocirun.container.exec import container_process, execute
from ocirun.container.options import CreateOptions, ExecOptions
from ocirun.container.start import start
from ocirun.container.store import Store
from ocirun.errors import OcirunError, SetupError
from ocirun.resctrl import group as resctrl

FULL = "    L3:0=7ff;1=7ff\n    MB:0=100;1=100\n"


@pytest.mark.skipif(os.path.exists("/sys/fs/resctrl/schemata"), reason="this host has resctrl")
@peer_deviates("runc", "1.1 ignores it")
@peer_deviates("crun", "1.8 ignores it")
def test_without_resctrl_it_is_refused_before_anything_is_made(box: Box) -> None:
    bundle = box.bundle()
    bundle.linux["intelRdt"] = {"closID": "gold", "l3CacheSchema": "L3:0=f"}
    container = box.container(bundle)
    container.create().failed("no resctrl file system is mounted")
    assert not (box.runtime.root / container.id).exists()


class Recorded:
    """A recorded resctrl: folders are filled as the kernel does, writes are kept."""

    def __init__(self, top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.top = top
        self.writes: list[tuple[str, str]] = []
        top.mkdir()
        monkeypatch.setattr(resctrl, "find_resctrl", lambda: str(top))
        monkeypatch.setattr(resctrl, "make_group", self._mkdir)
        monkeypatch.setattr(resctrl, "remove_group", shutil.rmtree)
        monkeypatch.setattr(resctrl, "_write", self._write)

    def _mkdir(self, path: str) -> None:
        os.mkdir(path, 0o755)
        Path(path, "schemata").write_text(FULL)
        if "mon_groups" not in path:
            Path(path, "mon_groups").mkdir()

    def _write(self, path: str, text: str) -> None:
        self.writes.append((str(Path(path).relative_to(self.top)), text))


@pytest.fixture
def recorded(box: Box, monkeypatch: pytest.MonkeyPatch) -> Recorded:
    return Recorded(box.folder / "resctrl", monkeypatch)


def made(box: Box, rdt: dict[str, Any], *args: str) -> tuple[Store, str]:
    """Create a container in this very process, where the recorded tree is."""
    bundle = box.bundle(*(args or ("/probe", "wait")))
    bundle.linux["intelRdt"] = rdt
    bundle.save()
    store = Store(str(box.runtime.root))
    container_id = box.container(bundle).id
    # An executed init: this process has threads of its own.
    create(store, container_id, CreateOptions(str(bundle.path), command=box.runtime.path)).close()
    return store, container_id


def pid_of(store: Store, name: str) -> int:
    with store.load(name) as record:
        return record.init_process_pid


@needs("ours")
def test_recorded_tree_through_create_exec_and_delete(box: Box, recorded: Recorded) -> None:
    store, name = made(box, {"memBwSchema": "MB:0=50", "enableMonitoring": True})
    with store.load(name) as record:
        intel_rdt_path = record.intel_rdt_path
    pid = str(record.init_process_pid)
    tasks = [f"{name}/tasks", f"{name}/mon_groups/{name}/tasks"]
    assert recorded.writes == [*((path, pid) for path in tasks), (f"{name}/schemata", "MB:0=50\n")]
    assert intel_rdt_path == str(recorded.top / name)
    assert json.loads((box.runtime.root / name / "state.json").read_text())["intel_rdt_made"] == [
        str(recorded.top / name),
        str(recorded.top / name / "mon_groups" / name),
    ]
    start(store, name)
    recorded.writes.clear()
    process = {**container_process(store, name), "args": ["/probe", "exit", "0"]}
    execute(store, name, process, ExecOptions(detach=True, command=box.runtime.path))  # type: ignore[arg-type]
    assert [path for path, _ in recorded.writes] == tasks
    (joined,) = {text for _, text in recorded.writes}
    assert joined != pid
    os.waitpid(int(joined), 0)  # our child: the container cannot end before it is reaped
    delete(store, name, force=True)
    assert os.listdir(recorded.top) == []


@needs("ours")
def test_recorded_tree_is_as_before_when_create_fails(box: Box, recorded: Recorded) -> None:
    with pytest.raises(OcirunError, match="executable file not found"):
        made(box, {"closID": "gold", "memBwSchema": "MB:0=50"}, "nothing")
    assert os.listdir(recorded.top) == []


@needs("ours")
def test_recorded_class_of_others_stays(box: Box, recorded: Recorded) -> None:
    resctrl.make_group(str(recorded.top / "gold"))
    store, name = made(box, {"closID": "gold", "enableMonitoring": True})
    assert (recorded.top / "gold/mon_groups" / name).is_dir()
    delete(store, name, force=True)
    assert (recorded.top / "gold").is_dir()
    assert os.listdir(recorded.top / "gold/mon_groups") == []


@needs("ours")
def test_recorded_schemas_are_updated(box: Box, recorded: Recorded) -> None:
    """Only what is given is written: `schemata` of the configuration would be written last."""
    store, name = made(box, {"closID": "gold", "memBwSchema": "MB:0=50", "schemata": ["MB:1=5"]})
    recorded.writes.clear()
    container = Container(name, root=store.root)
    container.update({}, mem_bw_schema="MB:0=70")
    container.update({}, l3_cache_schema="L3:0=f", mem_bw_schema="MB:0=80")
    path = "gold/schemata"
    assert recorded.writes == [(path, "MB:0=70\n"), (path, "L3:0=f\nMB:0=80\n")]
    config = json.loads((box.runtime.root / name / "config.json").read_text())
    assert config["linux"]["intelRdt"] == {
        "closID": "gold",
        "l3CacheSchema": "L3:0=f",
        "memBwSchema": "MB:0=80",
        "schemata": ["MB:1=5"],
    }
    delete(store, name, force=True)


@needs("ours")
def test_recorded_schemas_that_are_refused_leave_everything_as_it_was(
    box: Box, recorded: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, name = made(box, {"memBwSchema": "MB:0=50"})
    write = recorded._write

    def refuse(path: str, text: str) -> None:
        if text == "MB:0=999\n":
            raise OSError(22, "Invalid argument", path)
        write(path, text)

    monkeypatch.setattr(resctrl, "_write", refuse)
    recorded.writes.clear()
    before = limits_of(pid_of(store, name))
    with pytest.raises(SetupError, match="invalid argument"):
        Container(name, root=store.root).update({"pids": {"limit": 9}}, mem_bw_schema="MB:0=999")
    assert recorded.writes == [(f"{name}/schemata", "MB:0=50\n")]
    assert limits_of(pid_of(store, name)) == before
    delete(store, name, force=True)
