"""create is killed at each message, or its disk is full: what is left, and what is said of it.

Source: docs/runc-compat/state.md#status, docs/runc-compat/state.md#leftovers;
ARCHITECTURE.md#the-story.
"""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest
from harness.box import Box
from harness.machine import MNT_DETACH, libc_call
from harness.runtime import wait_until

MESSAGES = ["bootstrapData", "sendConfig", "procReady", "procRun", "procHooks", "procResume",
            "procGate"]  # fmt: skip


@pytest.fixture
def small_root(box: Box) -> Path:
    """Let the state root be a file system with room for next to nothing."""
    root = box.runtime.root
    root.mkdir()
    done = libc_call("mount", b"tmpfs", os.fsencode(root), b"tmpfs", 0, b"size=8k,mode=700")
    assert done == 0
    yield root
    libc_call("umount2", os.fsencode(root), MNT_DETACH)


@pytest.mark.parametrize("message", MESSAGES)
def test_killed_at_a_message_nothing_lives_on_and_delete_cleans(box: Box, message: str) -> None:
    container = box.container(None, "/probe", "wait")
    container.bundle.save()
    words = ["create", "--bundle", container.bundle.path, container.id]
    argv = box.runtime.prepare(*words).argv
    place = argv.index("--log")
    argv[place : place + 2] = ["--debug"]  # the log is a pipe: each line waits to be read
    creator = subprocess.Popen(argv, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
    assert creator.stderr is not None
    for line in creator.stderr:
        if message in os.fsdecode(line):
            creator.send_signal(signal.SIGKILL)
            break
    else:
        raise AssertionError(f"{message} was never said")
    creator.wait()
    creator.stderr.close()
    states = box.runtime.call("list", "--format", "json").ok().json() or []
    if states:
        wait_until(
            lambda: container.status in ("stopped", "created"), "an end of what was being made"
        )
        if container.status == "created":
            # The kill may come late: from procReady to procGate takes few milliseconds.
            assert message in ("procReady", "procRun", "procHooks", "procResume", "procGate")
            container.start().ok()
    container.delete("--force").ok()
    container.delete().failed("does not exist")


def test_a_full_disk_fails_with_its_words_and_leaves_nothing(box: Box, small_root: Path) -> None:
    container = box.container()
    container.bundle.config["annotations"] = {"long": "x" * 50_000}
    container.create().failed("no space left on device")
    assert os.listdir(small_root) == []


def test_start_is_killed_before_its_hook_fails(box: Box) -> None:
    """Nobody hears of the failure; init ends there, and does nothing of what its creator would.

    That one's state folder has a namesake in the image here, which must stay.
    """
    bundle = box.bundle("/probe", "wait")
    hook = {"path": "/bin/sh", "args": ["sh", "-c", "sleep 0.5; exit 3"]}
    bundle.config["hooks"] = {"startContainer": [hook]}
    container = box.container(bundle)
    namesake = bundle.rootfs / str(box.runtime.root)[1:] / container.id / "state.json"
    namesake.parent.mkdir(parents=True)
    namesake.write_text("")
    container.create().ok()
    starter, _ = box.runtime.spawn("start", container.id)
    wait_until(lambda: container.status == "running", "the gate is open")
    starter.kill()
    starter.wait()
    container.wait_status("stopped")
    assert namesake.exists()
    container.delete().ok()
