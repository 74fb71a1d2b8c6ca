"""Fixtures of the client tests; each test runs with runc and with ocirun."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Generator
from pathlib import Path

import pytest
from harness import leaks, machine, peers

from clients import images, outcomes
from clients.containerd import Containerd, Ctr
from clients.docker import Docker, Engine
from clients.podman import PAUSE_IMAGE, Podman

RUNTIMES = ("runc", "ours")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("clients")


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    outcomes.note(report)


def pytest_sessionfinish(session: pytest.Session) -> None:
    outcomes.write(session.config.getoption("outcomes"))


@pytest.fixture(scope="session")
def folder() -> Generator[Path, None, None]:
    """The folder of this session; afterwards no process, mount or cgroup of ours is left."""
    if os.geteuid() != 0:
        pytest.skip("not root")
    machine.become_subreaper()
    folder = machine.make_session_folder()
    yield folder
    check = leaks.Leaks(folder / "nothing")
    check.check()
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def tree(folder: Path) -> Path:
    return images.write_tree(folder / "tree")


@pytest.fixture(scope="session")
def archive(folder: Path, tree: Path) -> Path:
    return images.write_archive(folder / "busybox.tar", tree)


@pytest.fixture(params=RUNTIMES)
def runtime(request: pytest.FixtureRequest) -> str:
    """The path of a runtime: runc's, then ours."""
    return peers.find_runtime(request.param)[1]


@pytest.fixture(scope="session")
def containerd(folder: Path, archive: Path) -> Generator[Containerd, None, None]:
    if not machine.has_tool("containerd"):
        pytest.skip("no tool containerd")
    daemon = Containerd(folder / "containerd")
    daemon.load(archive)
    yield daemon
    daemon.stop()


@pytest.fixture
def ctr(containerd: Containerd, runtime: str) -> Generator[Ctr, None, None]:
    ctr = Ctr(containerd, runtime, f"{machine.MARK}-{time.monotonic_ns():x}")
    yield ctr
    for name in containerd.containers():
        if name.startswith(ctr.prefix):
            containerd.forget(name)


@pytest.fixture(scope="session")
def podman_storage(folder: Path, archive: Path, tree: Path) -> Generator[Path, None, None]:
    """A folder with images that every podman of this session works on."""
    if not machine.has_tool("podman"):
        pytest.skip("no tool podman")
    podman = Podman(folder / "podman", peers.find_runtime("runc")[1])
    pause = images.write_archive(folder / "pause.tar", tree, PAUSE_IMAGE, ("sleep", "100000"))
    podman("load", "-i", archive).expect()
    podman("load", "-i", pause).expect()
    yield folder / "podman"
    podman.stop()


@pytest.fixture
def podman(podman_storage: Path, runtime: str) -> Generator[Podman, None, None]:
    podman = Podman(podman_storage, runtime, f"t{time.monotonic_ns():x}")
    yield podman
    podman("rm", "-fa", "-t", "0").expect()


@pytest.fixture(scope="session")
def engine(folder: Path, archive: Path) -> Generator[Engine, None, None]:
    if not machine.has_tool("dockerd"):
        pytest.skip("no tool dockerd")
    engine = Engine(folder / "docker", peers.find_runtime("ours")[1])
    engine.load(archive)
    yield engine
    engine.stop()


@pytest.fixture(params=RUNTIMES)
def docker(engine: Engine, request: pytest.FixtureRequest) -> Generator[Docker, None, None]:
    name, path = peers.find_runtime(request.param)
    word = "ocirun" if name == "ours" else name
    docker = Docker(engine, word, path, f"t{time.monotonic_ns():x}")
    yield docker
    left = docker("ps", "-aq").out.split()
    if left:
        docker("rm", "-f", *left).expect()
