"""`ocirun top`: what containers use now, as a live table or once for a script."""

from __future__ import annotations

import os
import time

from ocirun.cli.duration import nanoseconds
from ocirun.cli.figures import UNKNOWN, aligned, count, format_size, rate, share
from ocirun.cli.output import write
from ocirun.container.events import check_interval
from ocirun.container.status import PAUSED, RUNNING
from ocirun.container.usage import RESOURCES, Monitor
from ocirun.errors import UsageError, warn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Final

    from ocirun.cli.call import Call
    from ocirun.container.usage import Usage

STDOUT: Final = 1
NS_PER_S: Final = 1_000_000_000
TITLES: Final = ("CONTAINER", "STATUS", "CPU", "MEMORY", "LIMIT", "PIDS", "READ", "WRITE")


def run(call: Call) -> int:
    """Show the table until it is ended, or print once what was used during one interval."""
    interval = call.text("interval")
    interval_ns = nanoseconds(interval, "interval")
    check_interval(interval_ns)
    form = call.text("format")
    if form not in ("json", "table"):
        raise UsageError("invalid format option")
    monitor = Monitor(call.store(), call.arguments)
    if not call.flag("once"):
        if form == "json" or not os.isatty(STDOUT):
            what = "--format json" if form == "json" else "no terminal on standard output"
            raise UsageError(f"top is for a terminal; with {what}, give --once")
        from ocirun.cli.screen import follow  # cold: rich

        return follow(monitor, interval_ns, interval)
    monitor.look()
    time.sleep(interval_ns / NS_PER_S)
    usages = monitor.look()
    for usage in usages:
        if usage.status in (RUNNING, PAUSED) and usage.reading is None:
            warn(f"container {usage.id} has no cgroup, which would count what it uses")
    if form == "json":
        from ocirun.spec.jsontext import compact

        write(compact([usage.for_json() for usage in usages]) + "\n")
    else:
        write(plain(usages))
    return 0


def plain(usages: Sequence[Usage]) -> str:
    """Lay out the usages for a script that splits lines into words: one each column."""
    rows = [[*TITLES, *(f"WAIT-{name.upper()}" for name in RESOURCES)]]
    for usage in usages:
        waiting = usage.waiting or {}
        rows.append(
            [
                usage.id,
                usage.status,
                share(usage.cpu_percent),
                format_size(usage.memory),
                format_size(usage.memory_limit),
                count(usage.pids, usage.pids_limit),
                rate(usage.read_rate),
                rate(usage.write_rate),
                *(share(waiting[name]) if name in waiting else UNKNOWN for name in RESOURCES),
            ]
        )
    return aligned(rows)
