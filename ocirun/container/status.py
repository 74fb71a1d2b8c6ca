"""The status of a container: derived from the kernel, never stored.

    creating   init is being set up by a process that is still at work
    created    init waits at its gate
    running    init has passed it
    paused     the same, with its cgroup frozen
    stopped    init is gone, or only its zombie is left

Source: runtime-spec runtime.md#state; docs/runc-compat/state.md#status.
"""

from __future__ import annotations

import time

from ocirun.kernel.procstat import start_time
from ocirun.process.gate import is_closed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from ocirun.cgroups.cgroup import Cgroup
    from ocirun.container.record import Record
    from ocirun.container.store import Store

CREATING: Final = "creating"
CREATED: Final = "created"
RUNNING: Final = "running"
PAUSED: Final = "paused"
STOPPED: Final = "stopped"


def status_of(store: Store, record: Record) -> str:
    """Derive the status of the container that `record` remembers."""
    directory = store.directory(record.id)
    if not record.init_process_pid:
        return CREATING if store.is_being_made(record.id) else STOPPED
    # Two processes never have the same pid and start time: neither a reused pid nor a reboot
    # makes a stopped container look alive.
    if not is_there(record):
        return STOPPED
    if is_frozen(record):
        return PAUSED
    if not is_closed(directory):
        return RUNNING
    return CREATING if store.is_being_made(record.id) else CREATED


def is_there(record: Record) -> bool:
    """Tell whether the container's init, and no other process with its pid, is alive."""
    return start_time(record.init_process_pid) == record.init_process_start


def goes_away(record: Record) -> bool:
    """Wait a second for an init that is on its way out.

    Kernel: it is not seen to be dead before every other process of its pid namespace is reaped, one
    that we were bringing there included.
    """
    for _ in range(100):
        if not is_there(record):
            return True
        time.sleep(0.01)
    return False


def is_frozen(record: Record) -> bool:
    """Tell whether the container's cgroup is frozen; one that is gone is not."""
    return bool(record.cgroup_paths) and cgroup_of(record).is_frozen()


def cgroup_of(record: Record) -> Cgroup:
    """Give the container's cgroup, with the manager it was made with."""
    from ocirun.cgroups.choose import known_cgroup

    return known_cgroup(record.cgroup_paths, record.cgroup_manager, record.systemd_unit)
