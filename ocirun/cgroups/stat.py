"""What a container has used: the counters of all controllers as one document.

Its keys are those of `runc events`, which are those of cgroup v1; v2 has the same ones. Every key
is always there, with 0 or an empty list for what is not counted.
`ocirun.container.stats` leaves out for JSON what runc leaves out.

Source: docs/runc-compat/cli.md#events, docs/runc-compat/cgroups.md#statistics; runc types/events.go
for the keys.
"""

from __future__ import annotations

import os

from ocirun.cgroups.paths import is_unified

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirun.cgroups.counters import Part


def stat(paths: dict[str, str]) -> Part:
    """Read the counters of the cgroup whose directories are `paths` (`Cgroup.paths`).

    A controller that is not among them is reported as zeros.

    Raises:
        SetupError: the kernel refused to show a counter.
    """
    return _unified(paths[""]) if is_unified(paths) else _split(paths)


def is_there(paths: dict[str, str]) -> bool:
    """Return whether anything of the cgroup exists; a container without one has nothing to lose."""
    return not paths or any(os.path.isdir(directory) for directory in paths.values())


def _unified(directory: str) -> Part:
    from ocirun.cgroups.v1 import cpuset
    from ocirun.cgroups.v2 import cpu, hugetlb, io, memory, misc, pids, rdma

    return {
        "cpu": cpu.stat(directory),
        "cpuset": cpuset.stat(""),  # its switches exist on v1 only; runc reports zeros
        "memory": memory.stat(directory),
        "pids": pids.stat(directory),
        "blkio": io.stat(directory),
        "hugetlb": hugetlb.stat(directory),
        "rdma": rdma.stat(directory),
        "misc": misc.stat(directory),
    }


def _split(paths: dict[str, str]) -> Part:
    from ocirun.cgroups.v1 import blkio, cpu, cpuacct, cpuset, hugetlb, memory, pids, rdma
    from ocirun.cgroups.v2 import misc

    return {
        "cpu": {
            "usage": cpuacct.stat(paths.get("cpuacct", "")),
            "throttling": cpu.stat(paths.get("cpu", "")),
            "psi": None,
        },
        "cpuset": cpuset.stat(paths.get("cpuset", "")),
        "memory": memory.stat(paths.get("memory", "")),
        "pids": pids.stat(paths.get("pids", "")),
        "blkio": blkio.stat(paths.get("blkio", "")),
        "hugetlb": hugetlb.stat(paths.get("hugetlb", "")),
        "rdma": rdma.stat(paths.get("rdma", "")),
        "misc": misc.stat(paths.get("misc", "")),
    }
