"""What happens in a container: its counters now and then, and each time its memory runs out.

Source: docs/runc-compat/cli.md#events; runc(8), runc-events.
"""

from __future__ import annotations

import select
import time

from ocirun.cgroups.oom import watch
from ocirun.container.init_process import open_init
from ocirun.container.stats import read_stats, refuse_stopped
from ocirun.errors import UsageError, WrongStatus

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from typing import Any, Final

    from ocirun.cgroups.oom import OomWatch
    from ocirun.container.record import Record
    from ocirun.container.store import Store

    # {"type": "stats" or "oom", "id": …, and for "stats" the document as "data"}
    Event = dict[str, Any]

NS_PER_MS: Final = 1_000_000
LONGEST_WAIT_MS: Final = 2**31 - 1  # what poll(2) takes


def events(
    store: Store, container_id: str, interval_ns: int, *, listener: int = -1
) -> Generator[Event, None, None]:
    """Follow a container until it stops: `stats` every `interval_ns`, `oom` when it happens.

    The first `stats` comes after one interval. `listener` is a descriptor (borrowed) whose reader
    going away ends it, too; -1 for none.

    Raises:
        ContainerNotFound: no such container.
        WrongStatus: it has stopped already.
        UsageError: the interval is not positive.
        SetupError: the kernel refused; also while it is followed.
    """
    check_interval(interval_ns)
    record = store.load(container_id)
    try:
        refuse_stopped(record)
    except BaseException:
        record.close()
        raise
    following = _follow(record, interval_ns, listener)
    next(following)
    return following


def check_interval(interval_ns: int) -> None:
    """Refuse an interval that is not positive.

    Raises:
        UsageError: with runc's words.
    """
    if interval_ns <= 0:
        raise UsageError("duration interval must be greater than 0")


def _follow(record: Record, interval_ns: int, listener: int) -> Generator[Event, None, None]:
    """Follow the container; `record` is closed at the end. The first event is an empty one."""
    with record:
        # A generator that has not begun would not close the record when it is closed.
        yield {}
        try:
            init = open_init(record)
        except ProcessLookupError:
            return
        memory = watch(record.cgroup_paths)
        try:
            yield from _wait(record, interval_ns, init=init, listener=listener, memory=memory)
        finally:
            if memory is not None:
                memory.close()


def _wait(
    record: Record,
    interval_ns: int,
    *,
    init: int,
    listener: int,
    memory: OomWatch | None,
) -> Iterator[Event]:
    """Wait for the end of `init` (a pidfd), for an OOM event, or for the next interval."""
    poll = select.poll()
    poll.register(init, select.POLLIN)
    if memory is not None:
        poll.register(memory.fd, select.POLLIN)
    if listener >= 0:
        poll.register(listener, 0)  # POLLERR and POLLHUP come unasked
    due = time.monotonic_ns() + interval_ns
    while True:
        wait_ms = max(0, -(-(due - time.monotonic_ns()) // NS_PER_MS))
        ready = {fd for fd, _ in poll.poll(min(wait_ms, LONGEST_WAIT_MS))}
        if listener in ready:
            return
        # Order: before the end is noticed: what ended it may be that memory ran out.
        if memory is not None and ready and memory.news():
            yield {"type": "oom", "id": record.id}
        if init in ready:
            return
        now = time.monotonic_ns()
        if now >= due:
            due = max(due + interval_ns, now)
            try:
                data = read_stats(record)
            except WrongStatus:
                continue  # its end is what the next round finds
            yield {"type": "stats", "id": record.id, "data": data}
