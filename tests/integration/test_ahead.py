"""Init goes on by itself where its parent has nothing to do in between.

Source: ARCHITECTURE.md#the-story; ocirun/process/messages.py.
"""

from __future__ import annotations

import json
import subprocess

import pytest
from harness.box import Box
from harness.hooks import Hooks
from harness.needs import needs

pytestmark = needs("ours")

MEMORY = {"memory": {"limit": 64 << 20}}


@pytest.mark.parametrize(
    ("resources", "hook", "expected"),
    [
        ({}, "createContainer", ["procRun →", "procResume →", "← procReady", "← procHooks"]),
        (MEMORY, "createContainer", ["procRun →", "← procReady", "← procHooks", "procResume →"]),
        ({}, "createRuntime", ["procRun →", "← procReady", "← procHooks", "procResume →"]),
    ],
)
def test_orders_are_sent_ahead_unless_limits_or_hooks_come_first(
    box: Box, resources: dict[str, object], hook: str, expected: list[str]
) -> None:
    """A hook sees the record of its container in any case: its init, that is."""
    hooks = Hooks(box)
    container = box.container(hooks.bundle)
    record, seen = box.runtime.root / container.id / "state.json", box.folder / "seen"
    hooks.shell(hook, f"cat {record} > {seen}", env=["PATH=/usr/bin:/bin"])
    hooks.bundle.linux["resources"] = resources
    hooks.bundle.save()
    log = box.folder / "debug"
    words = ["--debug", "--log", log, "--root", box.runtime.root, "create", "-b", hooks.bundle.path]
    null = subprocess.DEVNULL
    subprocess.run(
        [box.runtime.path, *words, container.id], stdin=null, stdout=null, stderr=null, check=True
    )
    said = [line for line in log.read_text().splitlines() if any(word in line for word in expected)]
    assert [next(word for word in expected if word in line) for line in said] == expected
    assert json.loads(seen.read_text())["init_process_pid"] == container.pid
    container.delete("--force").ok()
