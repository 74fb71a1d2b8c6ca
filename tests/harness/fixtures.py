"""Fixtures of the tests that run containers; tests/integration and tests/security import all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Generator
from pathlib import Path

import pytest

from harness import library, machine, needs, peers
from harness.box import Box
from harness.cgroups import cgroup, name
from harness.etc_criu import etc_criu
from harness.host_dev import HostDev
from harness.leaks import Leaks
from harness.networks import net
from harness.runtime import Runtime

__all__ = [
    "box",
    "cgroup",
    "each_way",
    "etc_criu",
    "host_dev",
    "name",
    "net",
    "programs",
    "runtime_under_test",
    "session_folder",
    "shared",
    "unchanged_dev",
]


@pytest.fixture(scope="session")
def host_dev() -> HostDev:
    """A private /dev for the session; the machine's own is only looked at."""
    return HostDev()


@pytest.fixture(autouse=True)
def unchanged_dev(host_dev: HostDev, pytestconfig: pytest.Config) -> Generator[None, None, None]:
    """Fail the test that has changed a device node, with the box or without.

    crun 1.8 gives the container's user the caller's stdio, /dev/null as well. Here that is a node
    of the test's own, and mended.
    """
    yield
    try:
        host_dev.check()
    except AssertionError as error:
        if pytestconfig.getoption("runtime") != "crun" or "the host's" in str(error):
            raise


@pytest.fixture(scope="session")
def runtime_under_test(
    pytestconfig: pytest.Config,
    session_folder: Path,
    host_dev: HostDev,  # noqa: ARG001  # before anything is run
) -> tuple[str, str]:
    """Name and path of the runtime; the session becomes the reaper of its orphans."""
    try:
        name, path = peers.find_runtime(pytestconfig.getoption("runtime"))
    except FileNotFoundError as error:
        pytest.exit(str(error), returncode=4)
    machine.become_subreaper()
    if name == "crun":
        machine.leave_unified_tree()
    if path == peers.LIBRARY:
        path = str(library.write_library_command(session_folder))
    return name, path


@pytest.fixture(scope="session")
def session_folder() -> Generator[Path, None, None]:
    folder = machine.make_session_folder()
    yield folder
    shutil.rmtree(folder)
    # LXC leaves the directory of its locks for each container path, which are below the folder.
    shutil.rmtree(f"/run/lxc/lock{folder}", ignore_errors=True)


@pytest.fixture(scope="session")
def programs(session_folder: Path) -> Path:
    """A folder with a static busybox and the compiled probe."""
    folder = session_folder / "programs"
    folder.mkdir()
    machine.compile_probe(folder)
    shutil.copy(machine.find_busybox(), folder / "busybox")
    (folder / "busybox").chmod(0o755)
    return folder


@pytest.fixture
def box(
    runtime_under_test: tuple[str, str],
    session_folder: Path,
    programs: Path,
    request: pytest.FixtureRequest,
) -> Generator[Box, None, None]:
    """The workbench of the test; afterwards nothing of it may be left on the machine."""
    if os.geteuid() != 0 and not needs.asks_for(request.node, "delegated"):
        pytest.skip("not root")
    number = request.session.testscollected and request.session.items.index(request.node)
    folder = session_folder / f"t{number}"
    folder.mkdir()
    runtime = Runtime(*runtime_under_test, folder)
    leaks = Leaks(runtime.root)
    box = Box(runtime, folder, programs)
    yield box
    box.clean()
    try:
        leaks.check()
    except AssertionError:
        # What a peer is known to do wrong may leave something behind; it is cleared by now.
        if not peers.is_deviation(request.node, runtime.name):
            raise
    shutil.rmtree(folder)


@pytest.fixture(params=["command", "library"])
def each_way(box: Box, request: pytest.FixtureRequest) -> Box:
    """The workbench, once with the command and once with the library of a threaded program."""
    if request.param == "library":
        if box.runtime.name != "ours":
            pytest.skip(f"this is not about {box.runtime.name}")
        box.runtime.path = str(library.write_library_command(box.folder))
    return box


@pytest.fixture
def shared(box: Box) -> Path:
    """A folder of the host with a file in it, for a container to see."""
    folder = box.folder / "shared"
    folder.mkdir()
    (folder / "file").write_text("of the host\n")
    return folder
