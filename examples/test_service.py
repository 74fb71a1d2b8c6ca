"""A pytest fixture with a service, which is healthy before the test begins and gone after it.

    ROOTFS=folder pytest examples/test_service.py

The service of this example answers on a Unix socket's stand-in that every image has: a FIFO in a
folder that the test and the container share.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import ocirun

SERVICE = "mkfifo /run/service/ask; while read word < /run/service/ask; do echo $word; done"


def wait_healthy(container: ocirun.Container, check: list[str], seconds: float = 10) -> None:
    """Wait until `check` succeeds in the container.

    Raises:
        TimeoutError: it did not within `seconds`. RuntimeError: the service has ended.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if container.poll() is not None:
            raise RuntimeError(f"the service has ended with {container.returncode}")
        with container.exec(check, capture_output=True) as process:
            if process.wait(seconds) == 0:
                return
        time.sleep(0.05)
    raise TimeoutError(f"the service is not healthy after {seconds} seconds")


@pytest.fixture
def service(tmp_path: Path) -> Iterator[ocirun.Container]:
    """A container that answers; what it says is on its stdout."""
    spec = ocirun.Spec(
        ["sh", "-c", SERVICE],
        os.environ["ROOTFS"],
        mounts=[(str(tmp_path), "/run/service")],
        memory="64M",
        pids=32,
    )
    with ocirun.Container.run(None, spec, stdout=ocirun.PIPE, text=True) as container:
        wait_healthy(container, ["test", "-p", "/run/service/ask"])
        yield container


def test_the_service_answers(service: ocirun.Container, tmp_path: Path) -> None:
    (tmp_path / "ask").write_text("hello\n")
    assert service.stdout is not None
    assert service.stdout.readline() == "hello\n"


def test_each_test_has_a_service_of_its_own(service: ocirun.Container) -> None:
    assert service.status == "running"
    assert len(ocirun.Container.list()) == 1
