"""With one configuration, systemd and the kernel know the same after ocirun and after runc."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest
from harness.box import Box
from harness.needs import needs
from harness.units import Units, scoped, unit_of

pytestmark = [pytest.mark.integration, needs("root", "systemd", "cgroup v2")]

MB = 1 << 20
NO_DEVICES = [{"allow": False, "access": "rwm"}]


@pytest.fixture
def units(box: Box) -> Generator[Units, None, None]:
    """Every verb gets --systemd-cgroup; afterwards systemd has no unit of the test."""
    box.runtime.settings = ["--systemd-cgroup"]
    units = Units()
    yield units
    box.clean()
    units.wait_until_none()


@needs("ours", "tool runc")
def test_systemd_and_the_kernel_are_told_what_runc_tells_them(box: Box, units: Units) -> None:
    resources = {
        "memory": {"limit": 64 * MB, "swap": 96 * MB, "reservation": 32 * MB},
        "pids": {"limit": 20},
        "cpu": {"quota": 20000, "period": 40000, "cpus": "0-1", "mems": "0"},
        "devices": NO_DEVICES,
        "unified": {"memory.high": str(48 * MB)},
    }
    shown, read = [], []
    for path in (box.runtime.path, "runc"):
        box.runtime.path = path
        bundle = scoped(box)
        bundle.linux["resources"] = resources
        container = box.created(bundle)
        properties = units.show(unit_of(box))
        properties["DeviceAllow"] = "\n".join(sorted(properties["DeviceAllow"].splitlines()))
        shown.append({name: value for name, value in properties.items() if not is_passing(name)})
        read.append(files_of(units.directory(unit_of(box))))
        container.delete("--force").ok()
        units.wait_until_none()
    # runc 1.1 leaves out a device that this machine has no node for (tun).
    ours, theirs = shown
    assert set(theirs.pop("DeviceAllow").splitlines()) <= set(ours.pop("DeviceAllow").splitlines())
    assert {name for name in ours | theirs if ours.get(name) != theirs.get(name)} == {"Description"}
    assert read[0] == read[1]


def is_passing(name: str) -> bool:
    """What two runs of one program would not have the same either."""
    words = ("Timestamp", "InvocationID", "ControlGroupId", "DropInPaths", "Current", "Available")
    counted = name.startswith(
        ("CPUUsage", "IORead", "IOWrite", "IPIngress", "IPEgress", "MemoryPeak", "MemorySwapPeak")
    )
    return counted or any(word in name for word in words)


def files_of(directory: Path) -> dict[str, str]:
    """The limits among the files of a cgroup."""
    names = [
        *("memory.max", "memory.high", "memory.low", "memory.swap.max", "pids.max"),
        *("cpu.max", "cpuset.cpus", "cpuset.mems", "cgroup.type", "cgroup.subtree_control"),
        "cgroup.controllers",
    ]
    return {name: (directory / name).read_text() for name in names}
