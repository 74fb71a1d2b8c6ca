"""`ocirun.Container.exec`: from a program with threads, by an executed stage.

Source: ARCHITECTURE.md#three-ways-to-create-init.
"""

from __future__ import annotations

import os
import signal
import threading
from typing import Any

import pytest
from harness.box import Box
from harness.bundle import PATH
from harness.needs import needs

import ocirun

pytestmark = needs("root", "ours")


def library(box: Box, container_id: str) -> ocirun.Container:
    return ocirun.Container(container_id, root=str(box.runtime.root))


def process(*args: str, **changes: Any) -> dict[str, Any]:  # noqa: ANN401
    return {"args": list(args), "cwd": "/", "env": [PATH]} | changes


def test_words_run_as_the_containers_program_does(box: Box) -> None:
    bundle = box.bundle("/probe", "wait", env=[PATH, "OWN=5"], cwd="/tmp")
    container = library(box, box.running(bundle).id)
    started = container.exec(["sh", "-c", 'test $PWD = /tmp && exit "$OWN"'])
    assert started.wait(60) == 5


def test_a_process_of_the_specification(box: Box) -> None:
    container = library(box, box.running().id)
    asked = process("sh", "-c", "exit $(id -u)", user={"uid": 7, "gid": 0})
    assert container.exec(asked).wait(60) == 7
    assert asked["args"][2] == "exit $(id -u)"


def test_it_is_killed_like_any_child(box: Box) -> None:
    container = library(box, box.running().id)
    started = container.exec(["/bin/sleep", "1000"])
    os.kill(started.pid, signal.SIGKILL)
    assert os.waitpid(started.pid, 0) == (started.pid, signal.SIGKILL)
    if started.poll() is None:  # before Linux 6.15, which keeps the status
        pytest.skip("needs Linux 6.15")
    assert started.wait(60) == -signal.SIGKILL


def test_the_callers_cpus_stay_its_own(box: Box) -> None:
    container = library(box, box.running().id)
    before = os.sched_getaffinity(0)
    asked = process("/bin/true", execCPUAffinity={"initial": "0", "final": "0"})
    assert container.exec(asked).wait(60) == 0
    assert os.sched_getaffinity(0) == before


def test_from_many_threads(box: Box) -> None:
    container = library(box, box.running().id)
    statuses: dict[int, int] = {}

    def work(number: int) -> None:
        statuses[number] = container.exec(["sh", "-c", f"exit {number}"]).wait(60)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == {number: number for number in range(8)}


def test_what_cannot_be_is_an_error_and_leaves_nothing(box: Box) -> None:
    running = box.running()
    container = library(box, running.id)
    with pytest.raises(ocirun.SetupError, match="no such file or directory"):
        container.exec(["/no/such"])
    with pytest.raises(ocirun.SpecError, match="/cwd"):
        container.exec(process("/bin/true") | {"cwd": 1})
    with pytest.raises(ocirun.SetupError, match="does not exist"):
        container.exec(["/bin/true"], cgroups=("none",))
    with pytest.raises(ocirun.SetupError, match="console"):
        container.exec(
            process("/bin/true", terminal=True), console_socket=str(box.folder / "console")
        )
    running.stop()
    with pytest.raises(ocirun.WrongStatus, match="stopped"):
        container.exec(["/bin/true"])
