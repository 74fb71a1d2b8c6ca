"""Fixtures of the client tests; each test runs with runc and with ocirun."""

from __future__ import annotations

import functools
import os
import shutil
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest
from harness import leaks, machine, peers
from harness.user import User

from clients import critest, images, named, outcomes
from clients.calls import Outcome
from clients.containerd import Containerd, Ctr
from clients.cri import Kubelet, Pod
from clients.crio import Crio
from clients.docker import Docker, Engine
from clients.images import PAUSE, PAUSE_IMAGE
from clients.podman import Podman, RootlessPodman
from clients.registry import Registry

RUNTIMES = ("runc", "ours")
OTHERS = named.put_first()  # not the clients that the page is about
NewPod = Callable[..., Pod]
Tell = Callable[[str, str, Outcome], None]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("clients")


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    outcomes.note(report)


def pytest_sessionfinish(session: pytest.Session) -> None:
    outcomes.write(None if OTHERS else session.config.getoption("outcomes"))


@pytest.fixture(scope="session")
def folder() -> Generator[Path, None, None]:
    """The folder of this session; afterwards no process, mount or cgroup of ours is left."""
    if os.geteuid() != 0:
        pytest.skip("not root")
    machine.become_subreaper()
    machine.enter_private_network()
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


@pytest.fixture
def tell(runtime: str) -> Tell:
    """Put what a client said into the table of errors: `tell(client and verb, case, outcome)`."""
    return functools.partial(outcomes.tell, runtime)


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
def pause(folder: Path, tree: Path) -> Path:
    return images.write_archive(folder / "pause.tar", tree, PAUSE_IMAGE, PAUSE)


def handlers() -> dict[str, str]:
    """Return the programs of the CRI's two handlers."""
    return {"runc": peers.find_runtime("runc")[1], "ocirun": peers.find_runtime("ours")[1]}


@pytest.fixture(scope="session")
def registry(folder: Path) -> Generator[Registry, None, None]:
    """What critest pulls from."""
    registry = Registry(critest.Images(folder / "critest-tree"))
    yield registry
    registry.stop()


@pytest.fixture(scope="session")
def kubelet(
    folder: Path, archive: Path, pause: Path, registry: Registry
) -> Generator[Kubelet, None, None]:
    """containerd through its CRI; CRI-O instead, where CRIO names it."""
    if not machine.has_tool("containerd") and not os.environ.get("CRIO"):
        pytest.skip("no tool containerd")
    server = Crio if os.environ.get("CRIO") else Kubelet
    kubelet = server(folder / "cri", handlers(), registry.address)
    kubelet.load(archive)
    kubelet.load(pause)
    yield kubelet
    kubelet.stop()


@pytest.fixture
def new_pod(kubelet: Kubelet, runtime: str) -> Generator[NewPod, None, None]:
    """Make pods of one runtime; `new_pod(**fields of the PodSandboxConfig)`."""
    made: list[Pod] = []

    def new(**settings: Any) -> Pod:
        made.append(Pod(kubelet, Path(runtime).name, f"t{time.monotonic_ns():x}", **settings))
        return made[-1]

    yield new
    for pod in made:
        if pod.id in kubelet.pods():
            kubelet.forget(pod.id)


@pytest.fixture
def pod(new_pod: NewPod) -> Pod:
    return new_pod()


@pytest.fixture(scope="session")
def podman_storage(folder: Path, archive: Path, pause: Path) -> Generator[Path, None, None]:
    """A folder with images that every podman of this session works on."""
    if not machine.has_tool("podman"):
        pytest.skip("no tool podman")
    podman = Podman(folder / "podman", peers.find_runtime("runc")[1])
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
def rootless_user(folder: Path, archive: Path, pause: Path) -> Generator[User, None, None]:
    """A user with images, whom every rootless podman of this session belongs to."""
    if not machine.has_tool("podman"):
        pytest.skip("no tool podman")
    # A short name: of paths that are longer than a socket's may be, conmon 2.1.6 makes no good use,
    # and podman then waits 20 s for each container's end.
    place = folder / "r"
    place.mkdir()
    user = User(place)
    podman = RootlessPodman(folder / "rootless-conf", peers.find_runtime("runc")[1], user)
    podman("load", "-i", archive).expect()
    podman("load", "-i", pause).expect()
    yield user
    podman.stop()


@pytest.fixture
def rootless(
    folder: Path, rootless_user: User, runtime: str
) -> Generator[RootlessPodman, None, None]:
    prefix = f"t{time.monotonic_ns():x}"
    podman = RootlessPodman(folder / "rootless-conf", runtime, rootless_user, prefix)
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


@pytest.fixture(scope="session")
def engine_without_runc(folder: Path, archive: Path) -> Generator[Engine, None, None]:
    """An engine that finds ocirun wherever it looks for runc."""
    if not machine.has_tool("dockerd"):
        pytest.skip("no tool dockerd")
    programs = folder / "programs"
    programs.mkdir()
    (programs / "runc").symlink_to(peers.find_runtime("ours")[1])
    other = Engine(folder / "docker2", peers.find_runtime("ours")[1], programs)
    other.load(archive)
    yield other
    other.stop()


@pytest.fixture
def builder(engine: Engine, runtime: str, request: pytest.FixtureRequest) -> Engine:
    """An engine whose BuildKit calls the runtime."""
    if Path(runtime).name == "runc":
        return engine
    other: Engine = request.getfixturevalue("engine_without_runc")
    return other


@pytest.fixture
def docker(engine: Engine, runtime: str) -> Generator[Docker, None, None]:
    docker = Docker(engine, Path(runtime).name, runtime, f"t{time.monotonic_ns():x}")
    yield docker
    left = docker("ps", "-aq").out.split()
    if left:
        docker("rm", "-f", *left).expect()
