"""Processes of `exec` while their container is saved.

Source: docs/checkpoint.md; pid_namespaces(7).
"""

from __future__ import annotations

import os
from pathlib import Path

from harness.box import Box
from harness.needs import needs
from harness.runtime import finish, wait_until
from harness.saved import PATIENCE_S, Saved

pytestmark = [needs("root", "criu")]


def test_a_process_of_exec_is_not_saved_and_ends_with_the_container(box: Box) -> None:
    """It is no child of init, whose tree CRIU saves."""
    with Saved(box).run() as saved:
        saved.pipe.count_on()
        process, result = box.runtime.spawn("exec", saved.container.id, "sleep", "1000")
        wait_until(lambda: len(_processes(saved)) == 2, "the process of exec")
        saved.checkpoint().ok()
        finish(process, result).failed(status=137)
        saved.restore().ok()
        saved.pipe.count_on()
        assert len(_processes(saved)) == 1


def test_a_checkpoint_ends_once_detached_processes_are_reaped(box: Box) -> None:
    """Kernel: before that, process 1 of a pid namespace does not end, for which CRIU waits."""
    with Saved(box).run() as saved:
        saved.pipe.count_on()
        saved.container.exec("sleep", "1000", flags=("--detach",)).ok()
        [ours] = [pid for pid in _processes(saved) if pid != saved.container.pid]
        words = ("checkpoint", "--image-path", saved.images, saved.container.id)
        process, result = box.runtime.spawn(*words)
        os.waitpid(ours, 0)  # the harness is a subreaper, as conmon and containerd's shims are
        finish(process, result, PATIENCE_S).ok()


def test_a_process_of_exec_goes_on_with_a_container_that_is_left_running(box: Box) -> None:
    with Saved(box).run() as saved:
        saved.pipe.count_on()
        saved.container.exec("sleep", "1000", flags=("--detach",)).ok()
        before = _processes(saved)
        saved.checkpoint("--leave-running").ok()
        assert _processes(saved) == before
        stat = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in before]
        assert {fields[0] for fields in stat} <= {"S", "R"}  # not stopped, not traced
        saved.pipe.count_on()


def _processes(saved: Saved) -> list[int]:
    shown = saved.box.runtime.call("ps", "--format", "json", saved.container.id).ok()
    pids: list[int] = shown.json()
    return pids
