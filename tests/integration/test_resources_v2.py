"""config-linux.md#control-groups on a host that has only cgroup v2: set, read back, felt, gone.

Needs a real v2 host; the lab VM is one (docs/lab.md).
"""

from __future__ import annotations

import errno
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from harness.box import Box, Container
from harness.bundle import Bundle
from harness.machine import MARK
from harness.needs import needs
from harness.peers import peer_deviates

pytestmark = [pytest.mark.integration, needs("cgroup v2")]

TOP = Path("/sys/fs/cgroup")
MB = 1 << 20
CGROUP_MOUNT = {
    "destination": "/sys/fs/cgroup",
    "type": "cgroup",
    "source": "cgroup",
    "options": ["nosuid", "noexec", "nodev", "relatime", "ro"],
}
NOT_IN_RUNC_1_1 = ("shares", "burst", "idle", "hugepageLimits")
VALUES: list[tuple[dict[str, Any], dict[str, str]]] = [
    ({"memory": {"limit": 64 * MB}}, {"memory.max": str(64 * MB)}),
    (
        {"memory": {"limit": 64 * MB, "swap": 96 * MB, "reservation": 32 * MB}},
        {"memory.swap.max": str(32 * MB), "memory.low": str(32 * MB)},
    ),
    ({"memory": {"limit": 64 * MB, "swap": 64 * MB}}, {"memory.swap.max": "0"}),
    ({"memory": {"limit": -1}}, {"memory.max": "max", "memory.swap.max": "max"}),
    ({"cpu": {"quota": 50000}}, {"cpu.max": "50000 100000"}),
    ({"cpu": {"quota": 20000, "period": 40000}}, {"cpu.max": "20000 40000"}),
    ({"cpu": {"period": 40000}}, {"cpu.max": "max 40000"}),
    ({"cpu": {"quota": 50000, "burst": 10000}}, {"cpu.max.burst": "10000"}),
    ({"cpu": {"shares": 1024}}, {"cpu.weight": "100"}),
    ({"cpu": {"shares": 2}}, {"cpu.weight": "1"}),
    ({"cpu": {"idle": 1}}, {"cpu.idle": "1"}),
    ({"cpu": {"cpus": "0", "mems": "0"}}, {"cpuset.cpus.effective": "0", "cpuset.mems": "0"}),
    ({"pids": {"limit": 20}}, {"pids.max": "20"}),
    ({"pids": {"limit": -1}}, {"pids.max": "max"}),
    (
        {"hugepageLimits": [{"pageSize": "2MB", "limit": 4 * MB}]},
        {"hugetlb.2MB.max": str(4 * MB), "hugetlb.2MB.rsvd.max": str(4 * MB)},
    ),
    (
        {"memory": {"limit": 64 * MB}, "unified": {"memory.high": str(48 * MB)}},
        {"memory.high": str(48 * MB), "memory.max": str(64 * MB)},
    ),
]


def limited(box: Box, resources: dict[str, Any], *args: str) -> Bundle:
    bundle = box.bundle(*(args or ("/probe", "wait")))
    bundle.linux["cgroupsPath"] = f"/{MARK}-{box.folder.name}"
    bundle.linux["resources"] = resources
    return bundle


def directory(container: Container) -> Path:
    return TOP / container.bundle.linux["cgroupsPath"].strip("/")


@pytest.mark.parametrize(("resources", "files"), VALUES, ids=lambda value: str(value)[:60])
def test_each_value_is_in_its_file(
    box: Box, resources: dict[str, Any], files: dict[str, str]
) -> None:
    container = box.created(limited(box, resources))
    if box.runtime.name == "runc" and any(word in str(resources) for word in NOT_IN_RUNC_1_1):
        pytest.xfail("1.1 has the old formula for shares, and no burst, idle and rsvd")
    assert {file: (directory(container) / file).read_text().strip() for file in files} == files
    container.delete("--force").ok()
    assert not directory(container).exists()


def test_a_throttled_device(box: Box) -> None:
    disk = os.stat("/").st_dev
    major, minor = os.major(disk), os.minor(disk)
    if not Path(f"/sys/dev/block/{major}:{minor}").exists():
        pytest.skip("no cgroup io on this root file system")
    rate = {"major": major, "minor": minor, "rate": 1 * MB}
    limits = {"blockIO": {"weight": 200, "throttleReadBpsDevice": [rate]}}
    container = box.created(limited(box, limits))
    assert (directory(container) / "io.max").read_text().split()[:2] == [
        f"{major}:{minor}",
        f"rbps={MB}",
    ]


def test_the_process_is_born_in_its_cgroup(box: Box) -> None:
    container = box.running(limited(box, {}))
    place = f"0::{container.bundle.linux['cgroupsPath']}\n"
    assert Path(f"/proc/{container.pid}/cgroup").read_text() == place
    assert (directory(container) / "cgroup.procs").read_text() == f"{container.pid}\n"
    container.stop()
    container.delete().ok()
    assert not directory(container).exists()


def test_too_much_memory_kills(box: Box) -> None:
    eat = "x=0123456789abcdef; while :; do x=$x$x; done"
    limits = {"memory": {"limit": 16 * MB, "swap": 16 * MB}}
    run = box.container(limited(box, limits, "sh", "-c", eat)).run()
    assert run.status == 128 + signal.SIGKILL


def test_too_many_processes_are_refused(box: Box) -> None:
    script = "for i in 1 2 3 4 5 6 7 8; do sleep 60 & done; echo all"
    run = box.container(limited(box, {"pids": {"limit": 4}}, "sh", "-c", script)).run()
    assert "can't fork: Resource temporarily unavailable" in run.stderr


def test_a_quota_is_felt(box: Box) -> None:
    limits = {"cpu": {"quota": 20000, "period": 100000}}
    container = box.running(limited(box, limits, "sh", "-c", "while :; do :; done"))
    started = time.monotonic()
    before = usage_us(container)
    time.sleep(3)
    used_us = usage_us(container) - before
    share = used_us / 1e6 / (time.monotonic() - started)
    assert 0.17 < share < 0.23
    container.kill("KILL").ok()


def usage_us(container: Container) -> int:
    lines = (directory(container) / "cpu.stat").read_text().splitlines()
    return int(dict(line.split() for line in lines)["usage_usec"])


def test_the_rules_of_devices_hold_and_cannot_be_left(box: Box) -> None:
    deny = {"allow": False, "access": "rwm"}
    kmsg = {"allow": True, "type": "c", "major": 1, "minor": 11, "access": "r"}
    node = {"path": "/dev/kmsg", "type": "c", "major": 1, "minor": 11, "fileMode": 0o666}
    calls = ["open:/dev/null", "write:/dev/null", "open:/dev/kmsg", "write:/dev/kmsg"]
    results = []
    for rules in ([deny], [deny, kmsg], [{"allow": True, "access": "rwm"}]):
        bundle = limited(box, {"devices": rules})
        bundle.linux["devices"] = [node]
        # Reading the log needs a right of its own, and the node belongs to root.
        sets = ("bounding", "effective", "permitted")
        bundle.process["capabilities"] = {name: ["CAP_SYSLOG"] for name in sets}
        results.append(box.attempts(bundle, *calls))
    no = errno.EPERM
    assert results == [[0, 0, no, no], [0, 0, 0, no], [0, 0, 0, 0]]


def test_a_node_of_the_config_brings_no_rule(box: Box) -> None:
    """A linux.devices entry of a default path takes the implied rule's place, as in runc."""
    bundle = limited(box, {"devices": [{"allow": False, "access": "rwm"}]})
    bundle.linux["devices"] = [{"path": "/dev/full", "type": "c", "major": 1, "minor": 7}]
    bundle.linux["devices"][0]["fileMode"] = 0o666
    assert box.attempts(bundle, "open:/dev/full", "open:/dev/zero") == [errno.EPERM, 0]


def with_cgroup_mount(bundle: Bundle) -> Bundle:
    sysfs = {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["ro"]}
    bundle.mounts.extend([sysfs, CGROUP_MOUNT])
    return bundle


def test_a_cgroup_namespace_shows_only_the_container(box: Box) -> None:
    words = ["cat", "/proc/self/cgroup", "/sys/fs/cgroup/pids.max"]
    bundle = with_cgroup_mount(limited(box, {"pids": {"limit": 77}}, *words))
    bundle.linux["namespaces"].append({"type": "cgroup"})
    assert box.output(bundle) == "0::/\n77\n"


def test_without_one_the_whole_tree_is_shown(box: Box) -> None:
    bundle = with_cgroup_mount(limited(box, {"pids": {"limit": 77}}))
    place = bundle.linux["cgroupsPath"]
    bundle.process["args"] = ["cat", "/proc/self/cgroup", f"/sys/fs/cgroup{place}/pids.max"]
    assert box.output(bundle) == f"0::{place}\n77\n"


@needs("userns")
@pytest.mark.parametrize("cgroupns", [True, False])
def test_in_a_user_namespace_too(box: Box, cgroupns: bool) -> None:
    """Devices are held there as well; the tree is bound where it cannot be mounted."""
    deny = {"devices": [{"allow": False, "access": "rwm"}], "pids": {"limit": 77}}
    bundle = with_cgroup_mount(limited(box, deny))
    place = "" if cgroupns else bundle.linux["cgroupsPath"]
    bundle.process["args"] = ["cat", f"/sys/fs/cgroup{place}/pids.max"]
    bundle.linux["namespaces"].append({"type": "user"})
    if cgroupns:
        bundle.linux["namespaces"].append({"type": "cgroup"})
    ids = [{"containerID": 0, "hostID": 100000, "size": 65536}]
    bundle.linux.update(uidMappings=ids, gidMappings=ids)
    assert box.output(bundle) == "77\n"


def test_a_relative_path_and_none(box: Box) -> None:
    for path in (f"{MARK}-rel/deep", None):
        bundle = box.bundle("/probe", "wait")
        if path:
            bundle.linux["cgroupsPath"] = path
        container = box.running(bundle)
        place = Path(f"/proc/{container.pid}/cgroup").read_text().strip()
        assert place.endswith(f"/{path or container.id}")
        container.stop()
        container.delete().ok()
        full = TOP / place.removeprefix("0::/")
        assert not full.exists()
        if path:
            full.parent.rmdir()


@peer_deviates("runc", "1.1 does not wait until those it killed are gone", sometimes=True)
def test_everything_is_killed_together(box: Box) -> None:
    bundle = limited(box, {}, "sh", "-c", "sleep 1000 & sleep 1000 & echo ready; wait")
    bundle.linux["namespaces"] = [
        entry for entry in bundle.linux["namespaces"] if entry["type"] != "pid"
    ]
    container = box.running(bundle)
    container.wait_output("ready")
    pids = (directory(container) / "cgroup.procs").read_text().split()
    assert len(pids) == 3
    container.delete("--force").ok()
    assert not directory(container).exists()
    assert [state_of(pid) for pid in pids] == ["dead"] * 3


def state_of(pid: str) -> str:
    """Dead is also who only waits for its parent, which may be the harness."""
    try:
        letter = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "dead"
    return "dead" if letter in "ZX" else letter


@peer_deviates("runc", "1.1 only warns")
def test_a_used_or_frozen_cgroup_is_refused(box: Box) -> None:
    first = box.running(limited(box, {}))
    second = box.container(limited(box, {}))
    second.create().failed()
    first.stop()
    first.delete().ok()
    directory(first).mkdir()
    (directory(first) / "cgroup.freeze").write_text("1")
    refused = second.create()
    (directory(first) / "cgroup.freeze").write_text("0")
    directory(first).rmdir()
    refused.failed()
