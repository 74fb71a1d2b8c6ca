"""Processes of a container that are in cgroups below its own, and those that are not its own.

Source: docs/runc-compat/cli.md#kill, docs/runc-compat/cli.md#delete, docs/runc-compat/cli.md#ps,
docs/runc-compat/cgroups.md#freezing-and-killing.
"""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest
from harness.box import Box, Container
from harness.machine import cgroup_hierarchies
from harness.needs import needs
from harness.peers import peer_deviates
from harness.runtime import wait_until

pytestmark = [pytest.mark.lab, needs("root")]


def cgroups_of(pid: int) -> list[Path]:
    """The directories of a process, but for cpuset: there a new one takes no processes."""
    trees = cgroup_hierarchies()
    found = []
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, names, path = line.split(":", 2)
        top = trees.get(names.split(",")[0])
        if top is not None and names != "cpuset":
            found.append(top / path.strip("/"))
    return found


def move_below(pid: int, parents: list[Path]) -> None:
    for parent in parents:
        inner = parent / "outer" / "inner"
        inner.mkdir(parents=True, exist_ok=True)
        (inner / "cgroup.procs").write_text(str(pid))


def shared(box: Box) -> Container:
    """A container in our pid namespace: nothing of it dies with its init."""
    bundle = box.bundle("/probe", "wait")
    bundle.drop_namespace("pid")
    return box.running(bundle)


def add_below(container: Container) -> int:
    """Run one more process in the container, in a cgroup below its own; give its pid."""
    file = container.bundle.path / "pid"
    container.exec("/bin/sleep", "1000", flags=("--detach", "--pid-file", file)).ok()
    pid = int(file.read_text())
    move_below(pid, cgroups_of(container.pid))
    return pid


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


@peer_deviates("crun", "looks at one cgroup of a hybrid host", sometimes=True)
def test_ps_lists_those_below(box: Box) -> None:
    container = box.running()
    pid = add_below(container)
    found = container.runtime.call("ps", "--format", "json", container.id).ok().json()
    assert sorted(found) == sorted([container.pid, pid])


@peer_deviates("crun", "looks at one cgroup of a hybrid host", sometimes=True)
def test_a_signal_to_all_reaches_those_below(box: Box) -> None:
    container = shared(box)
    pid = add_below(container)
    container.runtime.call("kill", "--all", container.id, "KILL").ok()
    wait_until(lambda: is_gone(pid), "the end of the one below")
    container.wait_status("stopped")


def test_delete_of_a_stopped_container_takes_those_below(box: Box) -> None:
    container = shared(box)
    pid = add_below(container)
    directories = cgroups_of(container.pid)
    os.kill(container.pid, signal.SIGKILL)
    container.wait_status("stopped")
    assert not is_gone(pid)
    container.delete().ok()
    wait_until(lambda: is_gone(pid), "the end of the one below")
    assert [path for path in directories if path.exists()] == []


def test_delete_by_force_takes_those_below(box: Box) -> None:
    container = shared(box)
    pid = add_below(container)
    directories = cgroups_of(container.pid)
    container.delete("--force").ok()
    wait_until(lambda: is_gone(pid), "the end of the one below")
    assert [path for path in directories if path.exists()] == []


def test_empty_cgroups_below_go_with_the_container(box: Box) -> None:
    container = box.running()
    pid = add_below(container)
    directories = cgroups_of(container.pid)
    container.kill("KILL").ok()
    os.waitpid(pid, 0)  # Kernel: init is not gone before the last one in its namespace is reaped
    container.wait_status("stopped")
    assert (directories[0] / "outer" / "inner").exists()
    container.delete().ok()
    assert [path for path in directories if path.exists()] == []


@needs("ours")  # runc 1.1 says it is done and leaves the cgroup, crun kills the stranger
@pytest.mark.parametrize("below", [False, True])
def test_a_stranger_in_the_cgroup_is_not_killed(box: Box, *, below: bool) -> None:
    """Who put it there shall take it out: delete fails, and can be repeated."""
    container = box.running()
    directories = cgroups_of(container.pid)
    with subprocess.Popen(["sleep", "1000"]) as stranger:
        try:
            if below:
                move_below(stranger.pid, directories)
            else:
                for directory in directories:
                    (directory / "cgroup.procs").write_text(str(stranger.pid))
            container.stop()
            container.delete().failed("device or resource busy")
            assert stranger.poll() is None
            assert container.status == "stopped"
        finally:
            stranger.kill()
            stranger.wait()
    container.delete().ok()
