"""Cgroups that systemd owns, on cgroup v2, root's manager.

Source: docs/runc-compat/cgroups.md#paths, docs/runc-compat/cgroups.md#systemd.

Needs systemd as init; the lab VM has it. What systemd knows is asked with systemctl.
"""

from __future__ import annotations

import errno
import os
import subprocess
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from harness.bars import count
from harness.box import Box, Container
from harness.bundle import Bundle
from harness.machine import MARK
from harness.needs import needs
from harness.peers import peer_deviates
from harness.runtime import finish, wait_until
from harness.units import Units, scoped, unit_of
from harness.updating import update

pytestmark = [pytest.mark.integration, needs("root", "systemd", "cgroup v2")]

MB = 1 << 20
OLD_WEIGHTS = "1.1 has the old formula for shares"
ROUNDS = count(10, 50)  # emulated, one takes three seconds
NO_DEVICES = [{"allow": False, "access": "rwm"}]
VALUES: list[tuple[dict[str, Any], dict[str, str], dict[str, str]]] = [
    ({"memory": {"limit": 64 * MB}}, {"memory.max": str(64 * MB)}, {"MemoryMax": str(64 * MB)}),
    (
        {"memory": {"limit": 64 * MB, "swap": 96 * MB, "reservation": 32 * MB}},
        {"memory.swap.max": str(32 * MB), "memory.low": str(32 * MB)},
        {"MemorySwapMax": str(32 * MB), "MemoryLow": str(32 * MB)},
    ),
    ({"memory": {"limit": -1}}, {"memory.max": "max"}, {"MemoryMax": "infinity"}),
    # Whole percents for systemd, rounded up; what was asked for in the file.
    (
        {"cpu": {"quota": 12345, "period": 50000}},
        {"cpu.max": "12345 50000"},
        {"CPUQuotaPerSecUSec": "250ms", "CPUQuotaPeriodUSec": "50ms"},
    ),
    ({"cpu": {"quota": 50000}}, {"cpu.max": "50000 100000"}, {"CPUQuotaPerSecUSec": "500ms"}),
    ({"cpu": {"quota": -1}}, {"cpu.max": "max 100000"}, {"CPUQuotaPerSecUSec": "infinity"}),
    ({"cpu": {"shares": 1024}}, {"cpu.weight": "100"}, {"CPUWeight": "100"}),
    (
        {"cpu": {"cpus": "0-1", "mems": "0"}},
        {"cpuset.cpus": "0-1", "cpuset.mems": "0"},
        {"AllowedCPUs": "0-1", "AllowedMemoryNodes": "0"},
    ),
    ({"pids": {"limit": 20}}, {"pids.max": "20"}, {"TasksMax": "20"}),
    ({"pids": {"limit": 1}}, {"pids.max": "1"}, {"TasksMax": "1"}),
    ({"pids": {"limit": -1}}, {"pids.max": "max"}, {"TasksMax": "infinity"}),
    (
        {"unified": {"memory.high": str(48 * MB), "cpu.max": "20000 100000", "pids.max": "max"}},
        {"memory.high": str(48 * MB), "cpu.max": "20000 100000", "pids.max": "max"},
        {"MemoryHigh": str(48 * MB), "CPUQuotaPerSecUSec": "200ms", "TasksMax": "infinity"},
    ),
]


@pytest.fixture
def units(box: Box) -> Generator[Units, None, None]:
    """Every verb gets --systemd-cgroup; afterwards systemd has no unit of the test."""
    box.runtime.settings = ["--systemd-cgroup"]
    units = Units()
    yield units
    box.clean()
    units.wait_until_none()


@pytest.mark.parametrize(("resources", "files", "properties"), VALUES, ids=lambda v: str(v)[:50])
def test_each_value_is_a_property_and_in_its_file(
    box: Box,
    units: Units,
    resources: dict[str, Any],
    files: dict[str, str],
    properties: dict[str, str],
) -> None:
    if box.runtime.name == "runc" and "shares" in str(resources):
        pytest.xfail(OLD_WEIGHTS)
    bundle = scoped(box)
    bundle.linux["resources"] = resources
    box.created(bundle)
    unit = unit_of(box)
    shown = units.show(unit)
    assert {name: shown[name] for name in properties} == properties
    directory = units.directory(unit)
    assert {file: (directory / file).read_text().strip() for file in files} == files


def test_the_scope_is_where_clients_compute_it(box: Box, units: Units) -> None:
    word = MARK.replace("-", "_")
    container = box.running(scoped(box, slice_name=f"{word}-a.slice"))
    shown = units.show(unit_of(box))
    place = f"/{word}.slice/{word}-a.slice/{unit_of(box)}"
    assert (shown["ControlGroup"], shown["Slice"]) == (place, f"{word}-a.slice")
    assert (shown["ActiveState"], shown["Delegate"]) == ("active", "yes")
    assert Path(f"/proc/{container.pid}/cgroup").read_text() == f"0::{place}\n"
    # Nothing else is or was left in there, above all no process of ours.
    procs = units.directory(unit_of(box)) / "cgroup.procs"
    assert procs.read_text() == f"{container.pid}\n"
    container.delete("--force").ok()
    units.call("stop", f"{word}.slice")


def test_without_a_path_the_unit_has_the_containers_name(box: Box, units: Units) -> None:
    container = box.created(box.bundle("/probe", "wait"))
    prefix = {"ours": "ocirun", "runc": "runc", "crun": "crun"}[box.runtime.name]
    unit = f"{prefix}-{container.id}.scope"
    assert units.property(unit, "ControlGroup") == f"/system.slice/{unit}"
    container.delete("--force").ok()
    units.wait_until_none(unit)


@needs("ours")
@pytest.mark.parametrize(
    "path", ["a/b:c:d", "a--b.slice:c:d", "x.slice:y", "../..:x:y", ":a:b/../c"]
)
def test_a_bad_path_is_refused_before_anything_is_made(box: Box, units: Units, path: str) -> None:
    bundle = box.bundle()
    bundle.linux["cgroupsPath"] = path
    box.container(bundle).create().failed("/linux/cgroupsPath")
    assert units.listed() == []


def test_annotations_become_properties(box: Box, units: Units) -> None:
    bundle = scoped(box)
    bundle.config["annotations"] = {
        "org.systemd.property.TimeoutStopSec": "7",
        "org.systemd.property.CollectMode": "'inactive-or-failed'",
        "org.systemd.property.CPUWeight": "uint64 33",
        "org.systemd.property.Documentation": "['man:true(1)']",
    }
    box.created(bundle)
    shown = units.show(unit_of(box))
    assert shown["TimeoutStopUSec"] == "7s"
    assert (shown["CollectMode"], shown["CPUWeight"]) == ("inactive-or-failed", "33")
    assert shown["Documentation"].strip(chr(34)) == "man:true(1)"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("NoSuchThing", "true"),
        ("CPUWeight", "'text'"),
        ("TimeoutStopSec", "soon"),
        ("No-Name", "1"),
    ],
)
def test_a_property_that_cannot_be_is_an_error(
    box: Box, units: Units, name: str, value: str
) -> None:
    bundle = scoped(box)
    bundle.config["annotations"] = {f"org.systemd.property.{name}": value}
    failed = box.container(bundle).create().failed()
    if box.runtime.name == "ours":  # systemd itself does not name the one whose type is wrong
        known = name.removesuffix("Sec") if name != "CPUWeight" else unit_of(box)
        assert known in failed.said
    units.wait_until_none()


def test_devices_are_held_by_systemd_and_by_the_program(box: Box, units: Units) -> None:
    bundle = with_kmsg(scoped(box))
    rules = [*NO_DEVICES, {"allow": True, "type": "c", "major": 1, "minor": 11, "access": "r"}]
    bundle.linux["resources"] = {"devices": rules}
    assert may_open_kmsg(box.running(bundle))
    shown = units.show(unit_of(box))
    assert shown["DevicePolicy"] == "strict"
    allowed = set(shown["DeviceAllow"].splitlines())
    assert {"/dev/char/1:11 r", "/dev/char/1:3 rwm", "char-pts rwm", "char-* m"} <= allowed


def with_kmsg(bundle: Bundle) -> Bundle:
    """Add a node that the rules decide on, and the capability that reading the log needs."""
    node = {"path": "/dev/kmsg", "type": "c", "major": 1, "minor": 11, "fileMode": 0o666}
    bundle.linux["devices"] = [node]
    sets = ("bounding", "effective", "permitted")
    bundle.process["capabilities"] = {name: ["CAP_SYSLOG"] for name in sets}
    return bundle


def may_open_kmsg(container: Container) -> bool:
    said = container.exec("sh", "-c", ": </dev/kmsg && echo opened")
    assert "opened" in said.stdout or os.strerror(errno.EPERM) in said.stderr
    return "opened" in said.stdout


def test_a_reload_of_systemd_changes_nothing(box: Box, units: Units) -> None:
    bundle = with_kmsg(scoped(box))
    bundle.linux["resources"] = {
        "devices": NO_DEVICES,
        "memory": {"limit": 64 * MB},
        "pids": {"limit": 20},
        "cpu": {"quota": 20000, "period": 100000},
    }
    names = ("memory.max", "pids.max", "cpu.max", "cpu.weight", "cgroup.procs")
    container = box.running(bundle)
    directory = units.directory(unit_of(box))
    before = [(directory / name).read_text() for name in names]
    units.call("daemon-reload")
    assert [(directory / name).read_text() for name in names] == before
    assert not may_open_kmsg(container)


def test_memory_and_processes_are_limited(box: Box, units: Units) -> None:  # noqa: ARG001
    bundle = scoped(box, "sh", "-c", "x=0123456789abcdef; while :; do x=$x$x; done")
    bundle.linux["resources"] = {"memory": {"limit": 16 * MB, "swap": 16 * MB}}
    assert box.container(bundle).run().status == 128 + 9
    bundle = scoped(box, "sh", "-c", "for i in 1 2 3 4 5 6 7 8; do sleep 60 & done; echo all")
    bundle.linux["resources"] = {"pids": {"limit": 4}}
    assert "can't fork" in box.container(bundle).run().stderr


def test_pause_resume_and_exec(box: Box, units: Units) -> None:
    container = box.running(scoped(box))
    box.runtime.call("pause", container.id).ok()
    assert container.status == "paused"
    box.runtime.call("resume", container.id).ok()
    place = units.property(unit_of(box), "ControlGroup")
    assert container.exec("cat", "/proc/self/cgroup").ok().stdout == f"0::{place}\n"
    (units.directory(unit_of(box)) / "sub").mkdir()
    below = container.exec("cat", "/proc/self/cgroup", flags=("--cgroup", "/sub")).ok()
    assert below.stdout == f"0::{place}/sub\n"


def test_exec_with_a_cgroup_namespace_of_the_containers(box: Box, units: Units) -> None:  # noqa: ARG001
    """systemd mounts the tree with nsdelegate: nobody is born in there from outside."""
    bundle = scoped(box)
    bundle.linux["namespaces"].append({"type": "cgroup"})
    container = box.running(bundle)
    assert container.exec("cat", "/proc/self/cgroup").ok().stdout == "0::/\n"
    ours = os.readlink(f"/proc/{container.pid}/ns/cgroup")
    assert container.exec("readlink", "/proc/self/ns/cgroup").ok().stdout.strip() == ours


def test_delete_needs_no_flag(box: Box, units: Units) -> None:
    container = box.running(scoped(box))
    box.runtime.settings = []
    container.delete("--force").ok()
    units.wait_until_none()


@peer_deviates("runc", "1.1 waits for no job when the unit is gone", sometimes=True)
def test_a_scope_that_was_stopped_is_deleted(box: Box, units: Units) -> None:
    container = box.running(scoped(box))
    units.call("stop", unit_of(box))
    container.wait_status("stopped")
    assert units.listed() == []
    container.delete().ok()


def make_failed_unit(units: Units, unit: str) -> None:
    """A scope that ran into its time limit is left failed."""
    limits = ["-p", "RuntimeMaxSec=100ms"]
    subprocess.run(
        ["systemd-run", "-q", "--scope", "--unit", unit, *limits, "sleep", "60"], check=False
    )
    wait_until(lambda: units.property(unit, "ActiveState") == "failed", f"{unit} failed")


def test_a_unit_left_failed_is_replaced(box: Box, units: Units) -> None:
    make_failed_unit(units, unit_of(box))
    container = box.running(scoped(box))
    assert units.property(unit_of(box), "ActiveState") == "active"
    container.delete("--force").ok()


def test_a_container_left_failed_is_forgotten_by_delete(box: Box, units: Units) -> None:
    bundle = scoped(box)
    # The first process of a pid namespace does not hear the SIGTERM that comes first.
    # In the emulated lab `create` and `start` take more than a second together.
    limits = {"RuntimeMaxSec": "6", "TimeoutStopSec": "1"}
    bundle.config["annotations"] = {f"org.systemd.property.{k}": v for k, v in limits.items()}
    container = box.running(bundle)
    state = "ActiveState"
    wait_until(lambda: units.property(unit_of(box), state) == "failed", "the time is over", 30)
    container.wait_status("stopped")
    container.delete().ok()
    assert units.listed() == []


def test_a_unit_that_is_in_use_is_refused(box: Box, units: Units) -> None:
    first = box.running(scoped(box))
    second = box.container(scoped(box))
    second.create().failed()
    assert first.status == "running"
    assert units.property(unit_of(box), "ActiveState") == "active"


@needs("ours")  # a peer's create has another window; what is left after it is its own business
@pytest.mark.parametrize("moment", range(6))
def test_a_create_that_is_killed_leaves_nothing(box: Box, units: Units, moment: int) -> None:
    container = box.container(scoped(box))
    process, result = box.runtime.spawn(
        "create", "--bundle", container.bundle.path, container.id, bundle=container.bundle
    )
    directory = Path("/sys/fs/cgroup/system.slice", unit_of(box))
    wait_until(lambda: directory.exists() or process.poll() is not None, "the scope")
    time.sleep(moment * 0.05)
    process.kill()
    finish(process, result)
    container.delete("--force").ok()
    units.wait_until_none()
    assert not directory.exists()


@needs("ours")  # a peer is proved by the other tests
def test_many_containers_leave_no_unit(box: Box, units: Units) -> None:
    bundle = scoped(box)
    for _ in range(ROUNDS):
        container = Container(box.runtime, bundle, f"{MARK}-many")
        container.create().ok()
        assert units.listed() == [unit_of(box)]
        container.delete().ok()
        assert units.listed() == []
        box.runtime.calls.clear()


@pytest.mark.parametrize("options", [["rw"], ["ro"]])
def test_a_container_with_a_root_of_its_own_owns_its_cgroup(
    box: Box, units: Units, options: list[str]
) -> None:
    bundle = scoped(box)
    ids = [{"containerID": 0, "hostID": 100000, "size": 65536}]
    bundle.linux.update(uidMappings=ids, gidMappings=ids)
    bundle.linux["namespaces"] += [{"type": "user"}, {"type": "cgroup"}]
    mount = {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup"}
    sysfs = {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["ro"]}
    bundle.mounts.extend([sysfs, {**mount, "options": options}])
    container = box.running(bundle)
    directory = units.directory(unit_of(box))
    owner = 100000 if options == ["rw"] else 0
    handed = [directory, *(directory / name for name in ("cgroup.procs", "cgroup.subtree_control"))]
    assert [path.stat().st_uid for path in handed] == [owner] * 3
    assert (directory / "memory.max").stat().st_uid == 0
    made = container.exec("mkdir", "/sys/fs/cgroup/own")
    assert (made.status == 0) == (options == ["rw"])


def test_an_update_reaches_systemd_and_spares_devices(box: Box, units: Units) -> None:
    bundle = with_kmsg(scoped(box))
    bundle.linux["resources"] = {"devices": NO_DEVICES, "pids": {"limit": 20}}
    container = box.running(bundle)
    update(container, {"pids": {"limit": 30}, "memory": {"limit": 64 * MB}}).ok()
    shown = units.show(unit_of(box))
    assert (shown["TasksMax"], shown["MemoryMax"]) == ("30", str(64 * MB))
    assert (units.directory(unit_of(box)) / "pids.max").read_text() == "30\n"
    assert shown["DevicePolicy"] == "strict"
    assert not may_open_kmsg(container)
