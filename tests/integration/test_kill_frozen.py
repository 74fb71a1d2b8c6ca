"""Containers that freeze themselves so that nobody can kill them.

On cgroup v1 a frozen process does not die of SIGKILL, and thawing a cgroup leaves those below it
frozen that were frozen by themselves. On v2 such processes die.

Source: kernel admin-guide/cgroup-v1/freezer-subsystem.rst; docs/runc-compat/cli.md#kill,
docs/runc-compat/cli.md#delete, docs/runc-compat/cgroups.md#freezing-and-killing.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator
from pathlib import Path

import pytest
from harness.box import Box, Container
from harness.bundle import Bundle
from harness.machine import cgroup_hierarchies
from harness.needs import needs
from harness.peers import peer_deviates
from harness.runtime import wait_until

LEVELS, NAME = 20, "n" * 250

pytestmark = needs("root", "cgroup v1", "cgroup freezer")


@pytest.fixture
def freed() -> Generator[list[Path], None, None]:
    """Thaw in the end what a runtime has left frozen: the test must be able to clean up."""
    frozen: list[Path] = []
    yield frozen
    for directory in frozen:
        with contextlib.suppress(OSError):
            (directory / "freezer.state").write_text("THAWED")


def freezer_of(pid: int) -> Path:
    lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    path = next(line.split(":", 2)[2] for line in lines if line.split(":")[1] == "freezer")
    return cgroup_hierarchies()["freezer"] / path.strip("/")


def freeze_below(container: Container, freed: list[Path]) -> Path:
    """Do what a container with its cgroup mounted writable can do to itself."""
    pid = container.pid
    inner = freezer_of(pid) / "outer" / "inner"
    inner.mkdir(parents=True)
    freed += [inner.parent, inner]
    (inner / "cgroup.procs").write_text(str(pid))
    (inner / "freezer.state").write_text("FROZEN")
    wait_until(lambda: (inner / "freezer.state").read_text() == "FROZEN\n", "frozen")
    return inner


@peer_deviates("runc", "leaves it alive")
@peer_deviates("crun", "leaves it alive")
def test_init_that_is_frozen_below_can_be_killed(box: Box, freed: list[Path]) -> None:
    container = box.running()
    freeze_below(container, freed)
    container.stop()
    container.delete().ok()


@peer_deviates("runc", "gives up after ten seconds")
@peer_deviates("crun", "leaves it alive", sometimes=True)
def test_init_that_is_frozen_below_can_be_deleted(box: Box, freed: list[Path]) -> None:
    container = box.running()
    inner = freeze_below(container, freed)
    container.delete("--force").ok()
    assert not inner.exists()


@peer_deviates("runc", "leaves it alive")
@peer_deviates("crun", "leaves it alive", sometimes=True)
def test_a_shared_pid_namespace(box: Box, freed: list[Path]) -> None:
    bundle = box.bundle("/probe", "wait")
    bundle.drop_namespace("pid")
    container = box.running(bundle)
    freeze_below(container, freed)
    container.stop()
    container.delete().ok()


@pytest.fixture
def deep() -> Generator[list[int], None, None]:
    """Directories, each made in the one before; what a runtime has left of them goes in the end."""
    fds: list[int] = []
    yield fds
    for fd in reversed(fds):
        with contextlib.suppress(OSError):
            write_in(fd, "freezer.state", "THAWED")
        with contextlib.suppress(OSError):
            os.rmdir(NAME, dir_fd=fd)
        os.close(fd)


def write_in(directory: int, name: str, text: str) -> None:
    fd = os.open(name, os.O_WRONLY, dir_fd=directory)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


@needs("ours")  # peers leave it alive, with cgroups that no path reaches
def test_cgroups_that_are_deeper_than_a_path_is_long(box: Box, deep: list[int]) -> None:
    container = box.running()
    pid = container.pid
    top = freezer_of(pid)
    deep.append(os.open(top, os.O_RDONLY))
    for _ in range(LEVELS):
        os.mkdir(NAME, dir_fd=deep[-1])
        deep.append(os.open(NAME, os.O_RDONLY, dir_fd=deep[-1]))
    write_in(deep[-1], "cgroup.procs", str(pid))
    write_in(deep[-1], "freezer.state", "FROZEN")
    container.delete("--force").ok()
    assert not top.exists()


@needs("ours")  # a peer leaves it running, and the test could not clean up
@pytest.mark.parametrize("verb", ["kill", "delete"])
def test_one_that_freezes_again_and_again(box: Box, freed: list[Path], verb: str) -> None:
    """From inside: init sits in a cgroup that another process of the container keeps frozen."""
    bundle: Bundle = box.bundle("sh", "-c", SCRIPT)
    bundle.add_mount("/cg", "cgroup", "cgroup", "nosuid", "noexec", "nodev")
    container = box.running(bundle)
    top = freezer_of(container.pid)
    freed.append(top / "x" if top.name != "x" else top)
    wait_until(lambda: "again" in container.output, "the other process")
    wait_until(lambda: freezer_of(container.pid).name == "x", "init below")
    if verb == "kill":
        container.stop()
        container.delete().ok()
    else:
        container.delete("--force").ok()


SCRIPT = """
cd /cg/freezer && mkdir x
(echo again; while :; do echo FROZEN > x/freezer.state; done) &
echo 1 > x/cgroup.procs
sleep 1000
"""
