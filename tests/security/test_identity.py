"""What is undone is what was made, not what has its name by now.

`create A` sits in a slow hook; the client gives up, deletes A, creates and starts A again. When
the first create fails it may not touch the second container. The same for the end of a
foreground `run` and for `update`.

On runc 1.1.5 and crun 1.8.1, by hand: the first create removes the second one's folder; on runc its
process runs on, and nobody knows of it.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest
from harness.box import Box, Container
from harness.bundle import Bundle
from harness.needs import needs
from harness.runtime import finish, wait_until

pytestmark = needs("root", "ours")

MOMENTS = ("prestart", "createRuntime", "createContainer")


def slow(box: Box, moment: str, status: int = 1) -> tuple[Bundle, Path]:
    """A bundle whose hook tells its pid, waits for 5 s, and ends with `status`."""
    bundle = box.bundle("/probe", "wait")
    told = box.folder / "told"
    script = (
        "import os, sys, time; "
        f"open('{told}.new', 'w').write(str(os.getpid())); os.rename('{told}.new', '{told}'); "
        f"time.sleep(5); sys.exit({status})"
    )
    hook = {"path": sys.executable, "args": ["python3", "-I", "-S", "-c", script]}
    bundle.config["hooks"] = {moment: [hook]}
    return bundle, told


def successor(box: Box, container: Container) -> Container:
    """Create and start a container of the same id from another bundle."""
    after = Container(box.runtime, box.bundle("/probe", "wait"), container.id)
    after.create().ok()
    after.start().ok()
    after.wait_output("ready")
    return after


@pytest.mark.parametrize("shared_pid", [False, True])
@pytest.mark.parametrize("moment", MOMENTS)
def test_delete_stops_a_create_and_its_successor_lives(
    box: Box, moment: str, shared_pid: bool
) -> None:
    bundle, told = slow(box, moment)
    if shared_pid:
        bundle.drop_namespace("pid")
    container = box.container(bundle)
    bundle.save()
    creator, result = box.runtime.spawn("create", "--bundle", bundle.path, container.id)
    wait_until(told.exists, "the hook runs")
    before = time.monotonic()
    container.delete("--force").ok()
    assert time.monotonic() - before < 3, "it has waited for the hook"
    assert not (box.runtime.root / container.id).exists()
    after = successor(box, container)
    finish(creator, result).failed()
    assert creator.wait() != 0
    time.sleep(0.2)
    assert after.status == "running"
    assert box.runtime.call("ps", container.id).ok()
    after.delete("--force").ok()


def test_a_create_that_succeeds_meanwhile_is_deleted(box: Box) -> None:
    """Asked while init is not there yet, delete waits; what it then finds, it deletes."""
    for _ in range(20):
        container = box.container(None, "/probe", "wait")
        container.bundle.save()
        creator, result = box.runtime.spawn(
            "create", "--bundle", container.bundle.path, container.id
        )
        wait_until((box.runtime.root / container.id).exists, "its folder")
        container.delete("--force").ok()
        finish(creator, result)
        assert not (box.runtime.root / container.id).exists()
        box.runtime.call("state", container.id).failed("does not exist")


def test_delete_without_force_refuses_what_is_being_made(box: Box) -> None:
    bundle, told = slow(box, "createRuntime", 0)
    container = box.container(bundle)
    bundle.save()
    creator, result = box.runtime.spawn("create", "--bundle", bundle.path, container.id)
    wait_until(told.exists, "the hook runs")
    container.delete().failed("that is not stopped: creating")
    assert finish(creator, result).ok()
    assert container.status == "created"
    container.delete().ok()


@pytest.mark.parametrize("shared_pid", [False, True])
def test_the_end_of_a_run_leaves_its_successor_alone(box: Box, shared_pid: bool) -> None:
    """The one in the foreground was deleted by somebody else, and its id used again."""
    bundle = box.bundle("/probe", "wait")
    if shared_pid:
        bundle.drop_namespace("pid")
    first = box.container(bundle)
    bundle.save()
    runner, result = box.runtime.spawn("run", "--bundle", bundle.path, first.id)
    wait_until(lambda: "ready" in result.stdout, "the program")
    os.kill(runner.pid, 19)  # it will hear of the end later
    wait_until(lambda: _state(runner.pid) == "T", "stopped")
    first.delete("--force", timeout=60).ok()
    after = successor(box, first)
    os.kill(runner.pid, 18)
    assert finish(runner, result).status == 137
    assert after.status == "running"
    assert (box.runtime.root / first.id / "state.json").exists()
    after.delete("--force").ok()


def test_a_killed_creator_leaves_what_delete_can_remove(box: Box) -> None:
    bundle, told = slow(box, "createRuntime")
    container = box.container(bundle)
    bundle.save()
    creator, result = box.runtime.spawn("create", "--bundle", bundle.path, container.id)
    wait_until(told.exists, "the hook runs")
    creator.kill()
    finish(creator, result)
    container.delete("--force").ok()
    after = successor(box, container)
    after.delete("--force").ok()
    os.kill(int(told.read_text()), 9)


def test_removal_of_a_folder_by_hand_is_no_reason_to_remove_another(box: Box) -> None:
    """The maker's folder was moved away: what has its name now is not its own."""
    bundle, told = slow(box, "createRuntime")
    container = box.container(bundle)
    bundle.linux["cgroupsPath"] = f"/{container.id}-first"
    bundle.save()
    creator, result = box.runtime.spawn("create", "--bundle", bundle.path, container.id)
    wait_until(told.exists, "the hook runs")
    (box.runtime.root / container.id).rename(box.folder / "aside")
    after = successor(box, container)
    finish(creator, result).failed()
    assert after.status == "running"
    after.delete("--force").ok()


def _state(pid: int) -> str:
    with open(f"/proc/{pid}/stat") as stat:
        return stat.read().rpartition(")")[2].split()[0]
