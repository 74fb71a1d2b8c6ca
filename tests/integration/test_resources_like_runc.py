"""Each key of linux.resources with runc beside: the same files hold the same, made and updated.

Two containers of one configuration, one of the runtime under test and one of runc, are compared
file by file in every cgroup that they are in: not only the files that a key is about.

Source: runtime-spec config-linux.md#control-groups;
docs/runc-compat/cgroups.md#conversion-of-resources, docs/runc-compat/cli.md#update.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Generator
from copy import deepcopy
from typing import Any

import pytest
from harness.box import Box, Container
from harness.cgroups import LAYOUT, MB, NOTHING
from harness.limits import block_device, differences, limits_of
from harness.needs import needs
from harness.runtime import Runtime

pytestmark = [pytest.mark.integration, needs("tool runc", "cgroup pids")]

ON_V2 = LAYOUT == "v2"


@pytest.fixture
def theirs(box: Box) -> Generator[Box, None, None]:
    """A second workbench, of the runc that is installed."""
    folder = box.folder / "theirs"
    folder.mkdir()
    other = Box(Runtime("runc", str(shutil.which("runc")), folder), folder, box._programs)
    yield other
    other.clean()


def disk(rate: int) -> list[dict[str, int]]:
    major, minor = block_device()
    return [{"major": major, "minor": minor, "rate": rate}]


FUSE = {"allow": True, "type": "c", "major": 10, "minor": 229, "access": "rw"}

# What is made, and what it is updated to, by key. A function is asked when the test runs.
KEYS: dict[str, tuple[Any, Any]] = {
    "nothing": ({}, {}),
    "memory.limit": ({"memory": {"limit": 64 * MB}}, {"memory": {"limit": 32 * MB}}),
    "memory.limit grows": ({"memory": {"limit": 32 * MB}}, {"memory": {"limit": 512 * MB}}),
    "memory.swap": (
        {"memory": {"limit": 64 * MB, "swap": 128 * MB}},
        {"memory": {"limit": 32 * MB, "swap": 48 * MB}},
    ),
    "memory.swap grows": (
        {"memory": {"limit": 32 * MB, "swap": 48 * MB}},
        {"memory": {"limit": 64 * MB, "swap": 256 * MB}},
    ),
    "memory.swap of none": (
        {"memory": {"limit": 64 * MB, "swap": 64 * MB}},
        {"memory": {"limit": 32 * MB, "swap": 32 * MB}},
    ),
    "memory.swap without end": (
        {"memory": {"limit": 64 * MB, "swap": -1}},
        {"memory": {"limit": 32 * MB, "swap": 64 * MB}},
    ),
    "memory without end": (
        {"memory": {"limit": 64 * MB, "swap": 128 * MB}},
        {"memory": {"limit": -1, "swap": -1}},
    ),
    "memory.reservation": (
        {"memory": {"reservation": 32 * MB}},
        {"memory": {"reservation": 16 * MB}},
    ),
    "memory.swappiness": ({"memory": {"swappiness": 10}}, {}),
    "memory.disableOOMKiller": ({"memory": {"limit": 64 * MB, "disableOOMKiller": True}}, {}),
    "memory.kernel": (
        {"memory": {"limit": 64 * MB, "kernel": 32 * MB}},
        {"memory": {"limit": 48 * MB, "kernel": 32 * MB}},
    ),
    "cpu.shares": ({"cpu": {"shares": 512}}, {"cpu": {"shares": 2048}}),
    "cpu.shares of all": ({"cpu": {"shares": 2}}, {"cpu": {"shares": 262144}}),
    "cpu.quota": (
        {"cpu": {"quota": 50000, "period": 100000}},
        {"cpu": {"quota": 20000, "period": 40000}},
    ),
    "cpu.quota alone": ({"cpu": {"quota": 50000}}, {"cpu": {"quota": 20000}}),
    "cpu.quota without end": ({"cpu": {"quota": -1}}, {"cpu": {"quota": 20000}}),
    "cpu.quota taken away": (
        {"cpu": {"quota": 50000, "period": 50000}},
        {"cpu": {"quota": -1, "period": 50000}},
    ),
    "cpu.period": ({"cpu": {"period": 50000}}, {"cpu": {"period": 200000}}),
    "cpu.period with its quota": (
        {"cpu": {"quota": 50000, "period": 50000}},
        {"cpu": {"period": 200000}},
    ),
    "cpu.realtime": (
        {"cpu": {"realtimePeriod": 500000, "realtimeRuntime": 1000}},
        {"cpu": {"realtimePeriod": 900000, "realtimeRuntime": 2000}},
    ),
    "cpu.cpus": ({"cpu": {"cpus": "0", "mems": "0"}}, {"cpu": {"cpus": "0-1"}}),
    "cpu.cpus fewer": ({"cpu": {"cpus": "0-1"}}, {"cpu": {"cpus": "1"}}),
    "pids.limit": ({"pids": {"limit": 20}}, {"pids": {"limit": 9}}),
    "pids.limit without end": ({"pids": {"limit": -1}}, {"pids": {"limit": 9}}),
    "pids.limit taken away": ({"pids": {"limit": 9}}, {"pids": {"limit": -1}}),
    "blockIO.weight": ({"blockIO": {"weight": 300}}, {"blockIO": {"weight": 10}}),
    "blockIO.throttle": (
        lambda: {
            "blockIO": {
                "throttleReadBpsDevice": disk(MB),
                "throttleWriteBpsDevice": disk(2 * MB),
                "throttleReadIOPSDevice": disk(300),
                "throttleWriteIOPSDevice": disk(400),
            }
        },
        {},
    ),
    "hugepageLimits": ({"hugepageLimits": [{"pageSize": "2MB", "limit": 4 * MB}]}, {}),
    "network.classID": ({"network": {"classID": 0x10001}}, {}),
    "network.priorities": ({"network": {"priorities": [{"name": "lo", "priority": 3}]}}, {}),
    "devices": (
        {"devices": [*NOTHING, FUSE]},
        {"devices": [{"allow": True, "access": "rwm"}], "pids": {"limit": 30}},
    ),
    "unified": (
        {"unified": {"memory.high": str(48 * MB), "cpu.weight": "77"}},
        {"unified": {"memory.high": str(32 * MB)}},
    ),
    "many": (
        {
            "memory": {"limit": 64 * MB, "swap": 128 * MB, "reservation": 16 * MB},
            "cpu": {"shares": 512, "quota": 50000, "period": 100000, "cpus": "0", "mems": "0"},
            "pids": {"limit": 20},
        },
        {
            "memory": {"limit": 48 * MB, "swap": 48 * MB},
            "cpu": {"shares": 700, "quota": 10000, "cpus": "0-1"},
            "pids": {"limit": 10},
        },
    ),
}  # fmt: skip
# What needs a controller that not every machine has, and what the installed runc does otherwise.
NEEDS = {
    "blockIO.weight": ("blkio/blkio.bfq.weight", "/io.bfq.weight"),
    "hugepageLimits": ("hugetlb/hugetlb.2MB.limit_in_bytes", "/hugetlb.2MB.max"),
    "network.classID": ("net_cls/net_cls.classid", "net_cls"),
    "network.priorities": ("net_prio/net_prio.ifpriomap", "net_prio"),
    "cpu.realtime": ("cpu/cpu.rt_runtime_us", "/cpu.rt_runtime_us"),
    "unified": ("memory.high", "/memory.high"),
}
OTHERWISE_ON_V2 = {
    "cpu.shares": "the old formula",
    "many": "the old formula for shares",
    "hugepageLimits": "has not yet the rsvd files",
}


@pytest.mark.parametrize("key", KEYS)
def test_made_and_updated_alike(box: Box, theirs: Box, key: str) -> None:
    made, changed = (value() if callable(value) else value for value in KEYS[key])
    if key in NEEDS:
        needs_file(box, NEEDS[key][ON_V2])
    pair = [start(box, made), start(theirs, made)]
    pids = [container.pid for container in pair]
    before = [limits_of(pid) for pid in pids]
    for container in pair:
        document = json.dumps(changed).encode()
        container.runtime.call("update", "--resources=-", container.id, stdin=document).ok()
    after = [limits_of(pid) for pid in pids]
    found = [*differences(*before), *differences(*after)]
    if found and ON_V2 and box.runtime.name == "ours" and key in OTHERWISE_ON_V2:
        pytest.xfail(f"runc 1.1: {OTHERWISE_ON_V2[key]}: {found}")
    assert found == []
    assert (before != after) == bool(changed), "nothing was compared"


def start(box: Box, resources: dict[str, Any]) -> Container:
    bundle = box.bundle("/probe", "wait")
    bundle.linux["resources"] = {"devices": NOTHING, **deepcopy(resources)}
    return box.running(bundle)


def needs_file(box: Box, file: str) -> None:
    """Skip where the cgroups of a container have no such CONTROLLER/FILE."""
    container = start(box, {})
    if file not in limits_of(container.pid):
        pytest.skip(f"this kernel has no {file}")
    container.stop()
    container.delete().ok()
