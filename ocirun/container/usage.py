"""What containers use now: rates, from counters read twice.

    Monitor.look ── for each container ─► Reading (its counters, when) ─► Usage (since the last)

Source: docs/stats.md for the counters.
"""

from __future__ import annotations

import time

from ocirun.cgroups.counters import pressure
from ocirun.container.stats import read_stats
from ocirun.container.status import PAUSED, RUNNING, STOPPED, status_of
from ocirun.errors import ContainerNotFound, OcirunError, WrongStatus

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, Final

    from ocirun.container.record import Record
    from ocirun.container.stats import Stats
    from ocirun.container.store import Store

NS_PER_S: Final = 1_000_000_000
NO_LIMIT: Final = 2**62  # v1 says "none" by a number near 2**63, v2 by our 2**64-1
GONE: Final = "gone"
UNREADABLE: Final = "unreadable"
REMEMBERED: Final = 60  # looks back, for the history
RESOURCES: Final = ("cpu", "memory", "io")


class Reading:
    """The counters of one container at one moment (monotonic ns), and whose they are."""

    __slots__ = ("identity", "moment_ns", "stats", "status", "waiting")

    def __init__(self, record: Record, status: str, stats: Stats) -> None:
        # A container that was deleted and made again counts from 0.
        self.identity = (record.init_process_pid, record.init_process_start)
        self.moment_ns = time.monotonic_ns()
        self.status = status
        self.stats = stats
        self.waiting = _waiting(record, stats)


class Usage:
    """What one container uses; None where that is not known, and everything without a cgroup.

    Rates (`cpu_percent`: of one processor; `read_rate`, `write_rate`: bytes a second) are None at
    the first look. `memory` is without what the kernel can take back at once, as Docker shows it;
    bytes, limits None for none. `waiting` is the share of the last ten seconds in which some
    process waited for cpu, memory and io, in percent. `cpu_history` and `memory_history` are
    the newest values, the last one last.
    """

    __slots__ = (
        "cpu_history",
        "cpu_percent",
        "id",
        "memory",
        "memory_history",
        "memory_limit",
        "pids",
        "pids_limit",
        "read_rate",
        "reading",
        "status",
        "waiting",
        "write_rate",
    )

    def __init__(self, container_id: str, status: str) -> None:
        self.id = container_id
        self.status = status
        self.reading: Reading | None = None
        self.cpu_percent: float | None = None
        self.memory: int | None = None
        self.memory_limit: int | None = None
        self.pids: int | None = None
        self.pids_limit: int | None = None
        self.read_rate: int | None = None
        self.write_rate: int | None = None
        self.waiting: dict[str, float] | None = None
        self.cpu_history: list[float] = []
        self.memory_history: list[int] = []

    def take(self, reading: Reading, before: Usage | None) -> None:
        """Fill in the counters of `reading`, and rates since `before` if it is the same one."""
        self.reading = reading
        stats = reading.stats
        self.memory = memory = _in_use(stats["memory"])
        limit = stats["memory"]["usage"]["limit"]
        self.memory_limit = limit if 0 < limit < NO_LIMIT else None
        self.pids = stats["pids"]["current"]
        self.pids_limit = stats["pids"]["limit"] or None
        self.waiting = reading.waiting
        last = before.reading if before else None
        if before is not None and last is not None and last.identity == reading.identity:
            self.cpu_history = before.cpu_history
            self.memory_history = before.memory_history
            self._compare(last, reading)
        self.memory_history = [*self.memory_history, memory][-REMEMBERED:]

    def _compare(self, last: Reading, reading: Reading) -> None:
        span_ns = max(reading.moment_ns - last.moment_ns, 1)
        used_ns = _since(last.stats, reading.stats, _cpu_ns)
        self.cpu_percent = round(used_ns * 1000 // span_ns / 10, 1)
        self.cpu_history = [*self.cpu_history, self.cpu_percent][-REMEMBERED:]
        self.read_rate = _since(last.stats, reading.stats, _bytes_read) * NS_PER_S // span_ns
        self.write_rate = _since(last.stats, reading.stats, _bytes_written) * NS_PER_S // span_ns

    def for_json(self) -> dict[str, Any]:
        """Return it as `ocirun top --format json` prints it."""
        stats = self.reading.stats if self.reading else None
        return {
            "id": self.id,
            "status": self.status,
            "cpu": {"percent": self.cpu_percent, "total": _cpu_ns(stats) if stats else None},
            "memory": {
                "usage": stats["memory"]["usage"]["usage"] if stats else None,
                "in_use": self.memory,
                "limit": self.memory_limit,
            },
            "pids": {"current": self.pids, "limit": self.pids_limit},
            "io": {
                "read": _bytes_read(stats) if stats else None,
                "write": _bytes_written(stats) if stats else None,
                "read_per_second": self.read_rate,
                "write_per_second": self.write_rate,
            },
            "pressure": self.waiting,
        }


class Monitor:
    """Looks at containers again and again: those of `ids`, or all that run."""

    __slots__ = ("_ids", "_known", "_store")

    def __init__(self, store: Store, ids: Sequence[str] = ()) -> None:
        """Refuse an id that no container has.

        Raises:
            ContainerNotFound: there is none of this id.
        """
        for container_id in ids:
            store.load(container_id).close()
        self._store = store
        self._ids = list(dict.fromkeys(ids))
        self._known: dict[str, Usage] = {}

    def look(self) -> list[Usage]:
        """Read the counters of all; those who came are new, those who went are gone.

        A container that was asked for by its id stays in the list when it has stopped.
        """
        found = [self._look_at(container_id) for container_id in self._ids or self._store.ids()]
        if not self._ids:
            found = [usage for usage in found if usage.status in (RUNNING, PAUSED)]
        self._known = {usage.id: usage for usage in found}
        return found

    def _look_at(self, container_id: str) -> Usage:
        try:
            with self._store.load(container_id) as record:
                status = status_of(record)
                usage = Usage(container_id, status)
                if status in (RUNNING, PAUSED) and record.cgroup_paths:
                    reading = Reading(record, status, read_stats(record))
                    usage.take(reading, self._known.get(container_id))
        except ContainerNotFound:
            return Usage(container_id, GONE)
        except WrongStatus:
            return Usage(container_id, STOPPED)
        except OcirunError:
            # One damaged record must not hide the others; `list` says what is wrong with it.
            return Usage(container_id, UNREADABLE)
        return usage


def _since(before: Stats, now: Stats, count: Any) -> int:  # noqa: ANN401  # one of the functions below
    grown: int = count(now) - count(before)
    return max(grown, 0)


def _cpu_ns(stats: Stats) -> int:
    return int(stats["cpu"]["usage"]["total"])


def _bytes_read(stats: Stats) -> int:
    return _bytes(stats, "Read")


def _bytes_written(stats: Stats) -> int:
    return _bytes(stats, "Write")


def _bytes(stats: Stats, operation: str) -> int:
    entries = stats["blkio"]["ioServiceBytesRecursive"]
    return sum(entry["value"] for entry in entries if entry["op"] == operation)


def _in_use(memory: Stats) -> int:
    """Return the usage without inactive file pages; v1's total includes the cgroups below."""
    raw = memory["raw"]
    unneeded = raw.get("total_inactive_file", raw.get("inactive_file", 0))
    return max(int(memory["usage"]["usage"]) - int(unneeded), 0)


def _waiting(record: Record, stats: Stats) -> dict[str, float] | None:
    """Return the share of time in which some process waited, where the kernel counts it.

    On a hybrid host that is in the v2 tree beside v1, which `events` does not tell, as runc.
    """
    unified = record.cgroup_paths.get("", "")
    found: dict[str, float] = {}
    for name in RESOURCES:
        psi = stats["blkio" if name == "io" else name]["psi"]
        psi = psi or pressure(unified, f"{name}.pressure")
        if psi:
            found[name] = psi["some"]["avg10"]
    return found or None
