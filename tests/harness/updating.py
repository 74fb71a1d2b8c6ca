"""`update` in a test: containers with limits, ways to change these, files to read them back."""

from __future__ import annotations

import json
from typing import Any

import pytest

from harness.box import Box, Container
from harness.bundle import Bundle
from harness.cgroups import LAYOUT, MB
from harness.limits import directories_of
from harness.runtime import Result

ON_V2 = LAYOUT == "v2"


def update(container: Container, resources: dict[str, Any], *flags: str) -> Result:
    """As containerd does it: the resources on stdin."""
    document = json.dumps(resources).encode()
    return container.runtime.call("update", "--resources=-", *flags, container.id, stdin=document)


def by_flags(container: Container, *flags: str) -> Result:
    return container.runtime.call("update", *flags, container.id)


def limited(box: Box, resources: dict[str, Any], *args: str) -> Bundle:
    bundle = box.bundle(*(args or ("/probe", "wait")))
    bundle.linux["resources"] = {"devices": [{"allow": False, "access": "rwm"}], **resources}
    return bundle


def held(container: Container, v1: str, v2: str) -> str:
    """Read one file of the container's cgroup, of the one or of the other layout."""
    controller, _, file = v1.partition(" ")
    directories = directories_of(container.pid)
    path = directories[""] / v2 if ON_V2 else directories[controller] / file
    if not path.exists():
        pytest.skip(f"this kernel has no {path.name}")
    return path.read_text().strip()


def remembered(container: Container) -> dict[str, Any]:
    """Read the resources that ocirun takes to be in force."""
    config = json.loads((container.runtime.root / container.id / "config.json").read_text())
    resources: dict[str, Any] = config["linux"]["resources"]
    return resources


BEFORE: dict[str, Any] = {
    "memory": {"limit": 64 * MB, "swap": 128 * MB},
    "cpu": {"shares": 512, "quota": 50000, "period": 100000},
    "pids": {"limit": 20},
}
LIMIT = ("memory memory.limit_in_bytes", "memory.max")
SUM = ("memory memory.memsw.limit_in_bytes", "memory.swap.max")
SHARES = ("cpu cpu.shares", "cpu.weight")
QUOTA = ("cpu cpu.cfs_quota_us", "cpu.max")
PERIOD = ("cpu cpu.cfs_period_us", "cpu.max")
PIDS = ("pids pids.max", "pids.max")
ENDLESS = str(2**63 - 4096)
