"""A damaged record hurts nobody else, hides nothing that runs, and can be deleted.

`delete -f` ends with nothing left: the process is found through what the other files say, and
never somebody else's process or folder.

On runc 1.1.5, by hand: `delete -f` removes the folder and leaves init running when state.json is
gone; a record with members of other types is named and left out by `list`, and cannot be deleted.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from harness.box import Box, Container
from harness.machine import cgroup_hierarchies
from harness.needs import needs
from harness.runtime import wait_until

pytestmark = needs("root", "ours")


def _is_gone(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


def _edit(member: str, value: object) -> Callable[[Path], None]:
    def edit(file: Path) -> None:
        record = json.loads(file.read_text())
        assert member in record
        record[member] = value
        file.write_text(json.dumps(record))

    return edit


def _replace(text: bytes) -> Callable[[Path], None]:
    return lambda file: file.write_bytes(text)


def _be_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def _be_fifo(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def _be_loop(file: Path) -> None:
    file.unlink()
    file.symlink_to(file)


DAMAGES: dict[str, Callable[[Path], None]] = {
    "gone": Path.unlink,
    "empty": _replace(b""),
    "no JSON": _replace(b"{"),
    "an array": _replace(b"[]"),
    "a number": _replace(b"5"),
    "no members": _replace(b"{}"),
    "NULs": _replace(b"\0" * 4096),
    "no text": _replace(b"\xff\xfe{}"),
    "deep": _replace(b"[" * 100_000),
    "a folder": _be_folder,
    "a FIFO": _be_fifo,
    "a looping link": _be_loop,
    "the pid as text": _edit("init_process_pid", "12"),
    "a pid of true": _edit("init_process_pid", True),
    "a pid of -1": _edit("init_process_pid", -1),
    "a pid beyond any": _edit("init_process_pid", 1 << 70),
    "no start time": _edit("init_process_start", None),
    "the paths as a list": _edit("cgroup_paths", ["/"]),
    "a path as a number": _edit("cgroup_paths", {"": 5}),
    "a path that is not absolute": _edit("cgroup_paths", {"": "x"}),
    "a path that climbs": _edit("cgroup_paths", {"": "/sys/fs/cgroup/../../../tmp"}),
    "the hooks as text": _edit("hooks", "poststop"),
    "a hook as a number": _edit("hooks", [5]),
    "the owner as text": _edit("owner", "root"),
    "annotations as text": _edit("annotations", "x"),
    "the bundle as a number": _edit("bundle", 5),
    "another id": _edit("id", "somebody-else"),
    "an unknown manager": _edit("cgroup_manager", "x"),
    "private_pid as text": _edit("private_pid", "no"),
}
each_damage = pytest.mark.parametrize("damage", DAMAGES, ids=str)


@each_damage
@pytest.mark.parametrize("shared_pid", [False, True], ids=["private", "shared"])
def test_force_ends_what_runs_and_leaves_nothing(box: Box, damage: str, shared_pid: bool) -> None:
    bundle = box.bundle("sh", "-c", "sleep 1000 & sleep 1001 & echo ready; wait")
    if shared_pid:
        bundle.drop_namespace("pid")
    container = box.running(bundle)
    container.wait_output("ready")
    pids = _pids(box, container)
    assert len(pids) == 3
    DAMAGES[damage](box.runtime.root / container.id / "state.json")
    container.delete("--force").ok()
    wait_until(lambda: all(map(_is_gone, pids)), "all processes have ended")
    assert not (box.runtime.root / container.id).exists()
    assert _cgroups_of(container) == []


@each_damage
def test_others_are_listed_and_the_damage_is_said(box: Box, damage: str) -> None:
    healthy, hurt = box.running(), box.running()
    pid = hurt.pid
    DAMAGES[damage](box.runtime.root / hurt.id / "state.json")
    done = box.runtime.call("list", "--format=json").ok()
    states = {state["id"]: state for state in done.json()}
    assert set(states) == {healthy.id, hurt.id}
    assert (states[hurt.id]["status"], states[hurt.id]["pid"]) == ("running", pid)
    assert states[healthy.id]["status"] == "running"
    assert f"load container {hurt.id}: " in done.log
    assert "internal error" not in done.said
    box.runtime.call("list").ok()
    assert set(box.runtime.call("list", "-q").ok().stdout.split()) == {healthy.id, hurt.id}
    hurt.delete("--force").ok()


@each_damage
def test_verbs_say_what_is_damaged(box: Box, damage: str) -> None:
    container = box.running()
    DAMAGES[damage](box.runtime.root / container.id / "state.json")
    calls = [
        box.runtime.call("state", container.id),
        container.kill("TERM"),
        container.exec("true"),
        box.runtime.call("update", "--pids-limit", "7", container.id),
        container.start(),
        container.delete(),
        box.runtime.call("pause", container.id),
    ]
    for call in calls:
        assert call.status != 0
        assert "internal error" not in call.said, call.said
        assert "/proc/self/fd" not in call.said
        assert "state.json" in call.said, call.story()
    container.delete("--force").ok()


CONFIG_DAMAGES = {
    name: damage for name, damage in DAMAGES.items() if name in (
        "gone", "empty", "no JSON", "an array", "no members", "NULs", "deep", "a folder", "a FIFO",
        "a looping link",
    )
} | {
    "the process as text": _edit("process", "sh"),
    "the hooks as text": _edit("hooks", "x"),
    "hooks of numbers": _edit("hooks", {"poststop": [5]}),
    "linux as text": _edit("linux", "x"),
}  # fmt: skip


@pytest.mark.parametrize("damage", CONFIG_DAMAGES, ids=str)
def test_a_damaged_configuration_stops_no_deletion(box: Box, damage: str) -> None:
    bundle = box.bundle("/probe", "wait")
    bundle.config["hooks"] = {"poststop": [{"path": "/bin/true"}]}
    container = box.running(bundle)
    pid = container.pid
    CONFIG_DAMAGES[damage](box.runtime.root / container.id / "config.json")
    for call in (
        container.exec("true"),
        container.exec_process({"args": ["true"], "cwd": "/", "user": {"uid": 0, "gid": 0}}),
        box.runtime.call("update", "--pids-limit", "7", container.id),
    ):
        assert call.status != 0
        assert "internal error" not in call.said, call.said
        assert "/proc/self/fd" not in call.said
        assert "config.json" in call.said, call.story()
    assert container.status == "running"
    container.delete("--force").ok()
    assert "config.json" in box.runtime.calls[-1].log  # poststop hooks could not be run
    assert _is_gone(pid)
    assert not (box.runtime.root / container.id).exists()


def test_both_records_gone_ends_with_words(box: Box) -> None:
    """Nothing says any more which process it was: the folder goes, and that is said."""
    container = box.running()
    pid = container.pid
    folder = box.runtime.root / container.id
    for name in ("state.json", "init"):
        (folder / name).unlink()
    done = container.delete("--force").ok()
    assert "cannot be found" in done.log
    assert not folder.exists()
    os.kill(pid, signal.SIGKILL)
    for path in _cgroups_of(container):
        wait_until(lambda path=path: _rmdir(path), "an empty cgroup")


class TestTheNameIsTheId:
    """A folder that was moved is its container still; one that was copied is nobody's."""

    def test_a_moved_folder_can_be_deleted(self, box: Box) -> None:
        container = box.running()
        pid = container.pid
        (box.runtime.root / container.id).rename(box.runtime.root / "moved")
        box.runtime.call("state", "moved").failed(f"it is of container {container.id}")
        box.runtime.call("delete", "--force", "moved").ok()
        assert not (box.runtime.root / "moved").exists()
        assert _is_gone(pid)
        assert _cgroups_of(container) == []

    def test_a_copy_leaves_the_original_alone(self, box: Box) -> None:
        container = box.running()
        shutil.copytree(box.runtime.root / container.id, box.runtime.root / "copy", symlinks=True)
        (box.runtime.root / "copy").chmod(0o700)
        for verb in ("state", "kill", "pause", "delete"):
            assert box.runtime.call(verb, "copy").status == 1
        box.runtime.call("delete", "--force", "copy").ok()
        assert not (box.runtime.root / "copy").exists()
        assert container.status == "running"
        assert (box.runtime.root / container.id / "state.json").exists()
        container.delete("--force").ok()

    def test_a_copy_that_was_given_its_name_is_of_nobody(self, box: Box) -> None:
        """Its record is whole, and names a process that is another container's."""
        container = box.running()
        copy = box.runtime.root / "copy"
        shutil.copytree(box.runtime.root / container.id, copy, symlinks=True)
        copy.chmod(0o700)
        _edit("id", "copy")(copy / "state.json")
        box.runtime.call("delete", "--force", "copy")
        assert container.status == "running"
        shutil.rmtree(copy, ignore_errors=True)
        container.delete("--force").ok()


def _pids(box: Box, container: Container) -> list[int]:
    done = box.runtime.call("ps", "--format=json", container.id).ok()
    return [int(pid) for pid in done.json()]


def _cgroups_of(container: Container) -> list[Path]:
    return [
        Path(folder)
        for top in set(cgroup_hierarchies().values())
        for folder, _, _ in os.walk(top)
        if os.path.basename(folder) == container.id
    ]


def _rmdir(path: Path) -> bool:
    try:
        path.rmdir()
    except OSError:
        return False
    return True
