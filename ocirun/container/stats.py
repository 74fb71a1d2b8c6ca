"""What a container has used, as the library gives it and as `ocirun events` prints it.

Source: docs/runc-compat/cli.md#events; runc types/events.go, whose `omitempty` decides what JSON
leaves out.
"""

from __future__ import annotations

from ocirun.cgroups.stat import is_there, stat
from ocirun.container.status import CREATING, STOPPED, status_of
from ocirun.errors import ContainerError, WrongStatus

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    from ocirun.container.record import Record
    from ocirun.container.store import Store

    # The document: its keys are in docs/stats.md.
    Stats = dict[str, Any]

COUNTS: Final = ("usage", "max")
MEMORIES: Final = ("usage", "swap", "kernel", "kernelTCP")


def stats_of(store: Store, container_id: str) -> Stats:
    """Read the counters of a container that is there: created, running or paused.

    Every key is there, with 0, [], {} or None for what this host does not count.

    Raises:
        ContainerNotFound: no such container.
        WrongStatus: it has stopped, or did so while its counters were read.
        ContainerError: it lives, and its cgroup does not.
        SetupError: the kernel refused to show a counter.
    """
    with store.load(container_id) as record:
        return read_stats(record)


def read_stats(record: Record) -> Stats:
    """Read the counters of the container that `record` remembers, as `stats_of` says."""
    stats = {**stat(record.cgroup_paths), "intel_rdt": _intel_rdt(record)}
    # None: runc has the key and no interfaces; they are counted by what made the network.
    stats["network_interfaces"] = None
    # Order: after reading. What vanished meanwhile has been read as zeros, which are no counts; as
    # long as init lives nothing of its cgroup can be removed, unless somebody moved it elsewhere.
    refuse_stopped(record)
    if not is_there(record.cgroup_paths):
        raise ContainerError(record.id, f"the cgroup of container {record.id} does not exist")
    return stats


def refuse_stopped(record: Record) -> None:
    """Refuse a container that has stopped, or is not made yet.

    Raises:
        WrongStatus: with runc's words.
    """
    status = status_of(record)
    if status == STOPPED or (status == CREATING and not record.init_process_pid):
        message = f"container with id {record.id} is not running"
        raise WrongStatus(record.id, status, message)


def _intel_rdt(record: Record) -> Stats:
    if not record.intel_rdt_path:
        return {}
    from ocirun.resctrl import stat

    return stat.stat(record.intel_rdt_path, record.intel_rdt_monitoring)


def for_json(stats: Stats) -> Stats:
    """Leave out what runc leaves out, in its order of keys.

    `rdma` and `misc`, which runc reads and does not print, are there when they count something.
    """
    cpu, memory, blkio = stats["cpu"], stats["memory"], stats["blkio"]
    usage = without(cpu["usage"], "total", "percpu", "percpu_kernel", "percpu_user")
    shown = {
        "cpu": {**cpu, "usage": usage, "throttling": without(cpu["throttling"])},
        "cpuset": without(stats["cpuset"], "cpus", "mems"),
        "memory": {**memory, **{name: without(memory[name], *COUNTS) for name in MEMORIES}},
        "pids": without(stats["pids"]),
        "blkio": {
            name: [without(entry) for entry in value] if isinstance(value, list) else value
            for name, value in without(blkio).items()
        },
        "hugetlb": {size: without(page, *COUNTS) for size, page in stats["hugetlb"].items()},
        "intel_rdt": without(stats["intel_rdt"]),
        "network_interfaces": stats["network_interfaces"],
    }
    shown["cpu"] = without(shown["cpu"], "psi")
    shown["memory"]["raw"] = dict(sorted(memory["raw"].items()))
    shown["memory"] = without(shown["memory"], "cache", "raw", "psi")
    for name in ("l3_cache_info", "mem_bw_info"):
        if name in shown["intel_rdt"]:
            shown["intel_rdt"][name] = without(shown["intel_rdt"][name])
    if stats["rdma"]["current"] or stats["rdma"]["limit"]:
        shown["rdma"] = without(stats["rdma"])
    if stats["misc"]:
        shown["misc"] = stats["misc"]
    return shown


def without(part: Stats, *names: str) -> Stats:
    """Copy `part` without those of `names` (none given: of all) that count nothing."""
    return {name: value for name, value in part.items() if value or (names and name not in names)}
