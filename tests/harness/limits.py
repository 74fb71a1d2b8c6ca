"""What the cgroups of a container hold: every file that can be written, to be read and compared."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from ocirun.cgroups.paths import own_directory, parse_own, read_table

# Parts of the names of files that count or that trigger something, although they can be written.
COUNTERS = (
    "procs", "tasks", "threads", "usage", "failcnt", "pressure", "stat", "events", "current",
    "peak", "blkio.bfq.io", "blkio.throttle.io", "slabinfo", "reclaim", "force_empty",
)  # fmt: skip


def settings(directory: str | Path) -> dict[str, list[str]]:
    """Read every file of a cgroup but those that count: sorted lines by file name."""
    found = {}
    for path in sorted(Path(directory).iterdir()):
        if path.is_file() and not any(word in path.name for word in COUNTERS):
            with contextlib.suppress(OSError):  # write only
                found[path.name] = sorted(path.read_text().splitlines())
    return found


def directories_of(pid: int) -> dict[str, Path]:
    """Find the cgroups of a process: directory by controller, "" for v2."""
    table = read_table()
    found = {}
    for name, own in parse_own(Path(f"/proc/{pid}/cgroup").read_text()).items():
        mount = table.v1_mount(name) if name else table.v2_mount()
        if mount is not None:
            found[name] = Path(own_directory(mount, own))
    return found


def limits_of(pid: int) -> dict[str, list[str]]:
    """Read the settings of all cgroups of a process: lines by CONTROLLER/FILE, on v2 /FILE."""
    return {
        f"{name}/{file}": lines
        for name, directory in directories_of(pid).items()
        for file, lines in settings(directory).items()
    }


def main_limits(pid: int) -> dict[str, str]:
    """Return memory, pids, quota and CPUs of a process's cgroups in the same words on v1 and v2."""
    found = {file: " ".join(lines) for file, lines in limits_of(pid).items()}
    if "/memory.max" in found:
        memory, pids, cpus = (
            found[f"/{name}"] for name in ("memory.max", "pids.max", "cpuset.cpus")
        )
        return {"memory": memory, "pids": pids, "quota": found["/cpu.max"], "cpus": cpus}
    return {
        "memory": found["memory/memory.limit_in_bytes"],
        "pids": found["pids/pids.max"],
        "quota": f"{found['cpu/cpu.cfs_quota_us']} {found['cpu/cpu.cfs_period_us']}",
        "cpus": found["cpuset/cpuset.cpus"],
    }


def differences(ours: dict[str, list[str]], theirs: dict[str, list[str]]) -> list[str]:
    """Return what is not the same in two results of `limits_of`, a line for each file."""
    return [
        f"{file}: {ours.get(file)} and {theirs.get(file)}"
        for file in sorted({*ours, *theirs})
        if ours.get(file) != theirs.get(file)
    ]


def block_device() -> tuple[int, int]:
    """Return the numbers of a disk of this machine; skip where there is none."""
    # Loop devices without a file behind them, which come first, cannot be throttled everywhere.
    names = sorted(Path("/sys/block").iterdir(), key=lambda path: path.name.startswith("loop"))
    for path in names:
        major, _, minor = (path / "dev").read_text().strip().partition(":")
        return int(major), int(minor)
    pytest.skip("this machine has no block device")
