"""ocirun as a library: what a program that makes containers keeps, and what it does not.

Source: ARCHITECTURE.md#three-ways-to-create-init; docs/library.md.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Generator

import pytest
from harness.box import Box
from harness.bundle import Bundle
from harness.leaks import open_fds
from harness.needs import needs

import ocirun

pytestmark = needs("ours")


@pytest.fixture
def name(box: Box) -> Generator[str, None, None]:
    """Name a container, and reap its init, which is our child, in the end."""
    container_id = box.container().id
    yield container_id
    root = os.fspath(box.runtime.root)
    ocirun.Container(container_id, root=root).delete(force=True)


def create(box: Box, bundle: Bundle, name: str, **options: str) -> ocirun.Container:
    bundle.save()
    root = os.fspath(box.runtime.root)
    return ocirun.Container.create(name, os.fspath(bundle.path), root=root, **options)


def is_pidfd(target: str) -> bool:
    return "pidfd" in target


def test_a_container_keeps_one_pidfd_until_its_end(box: Box, name: str) -> None:
    before = set(open_fds())
    container = create(box, box.bundle("/probe", "wait"), name)
    container.start()
    assert container.state()["status"] == "running"
    [(_, target)] = set(open_fds()) - before
    assert is_pidfd(target)
    container.kill()
    assert container.wait(60) == -9
    assert set(open_fds()) == before


def test_nor_does_one_with_a_terminal(box: Box, name: str) -> None:
    path = os.fspath(box.folder / "console")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        before = set(open_fds())
        bundle = box.bundle("/probe", "wait", terminal=True)
        create(box, bundle, name, console_socket=path).delete(force=True)
        assert set(open_fds()) == before


def test_nor_does_one_that_cannot_be_made(box: Box) -> None:
    before = set(open_fds())
    bundle = box.bundle("/no/such/program")
    bundle.use_userns((0, 100000, 65536))
    bundle.add_mount("/a", "bind", "/", "bind")
    bundle.add_mount("/b", "bind", "/no/such/source", "bind")
    with pytest.raises(ocirun.SetupError, match="no such file"):
        create(box, bundle, box.container().id)
    assert set(open_fds()) == before


def test_what_a_container_uses(box: Box, name: str) -> None:
    container = create(box, box.bundle("/probe", "wait"), name)
    before = set(open_fds())
    found = container.stats()
    assert found["pids"]["current"] >= 1
    assert found["cpu"]["psi"] is None or "some" in found["cpu"]["psi"]
    assert found["blkio"]["sectorsRecursive"] == []  # zeros are told here
    assert container.processes() == [container.state()["pid"]]
    assert set(open_fds()) == before


def test_pause_and_resume(box: Box, name: str) -> None:
    container = create(box, box.bundle("/probe", "wait"), name)
    container.start()
    container.pause()
    assert container.state()["status"] == "paused"
    container.resume()
    assert container.state()["status"] == "running"


def test_events_until_the_container_stops(box: Box, name: str) -> None:
    container = create(box, box.bundle("/probe", "wait"), name)
    before = set(open_fds())
    for count, event in enumerate(container.events(0.05)):
        assert (event["type"], event["id"]) == ("stats", name)
        assert event["data"]["network_interfaces"] is None
        if count == 2:
            container.kill("KILL")
    assert set(open_fds()) == before
    with pytest.raises(ocirun.WrongStatus, match="is not running"):
        container.events()
    with pytest.raises(ocirun.WrongStatus, match="is not running"):
        container.stats()


def test_events_that_are_left_keep_no_descriptor(box: Box, name: str) -> None:
    container = create(box, box.bundle("/probe", "wait"), name)
    before = set(open_fds())
    lines = container.events(0.01)
    assert next(lines)["type"] == "stats"
    lines.close()  # type: ignore[attr-defined]
    assert set(open_fds()) == before
    with pytest.raises(ocirun.UsageError, match="greater than 0"):
        container.events(0)
