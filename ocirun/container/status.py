"""The status of a container: derived from the kernel, never stored.

    creating   init is being set up by a process that is still at work
    created    init waits at its gate
    running    init has passed it
    paused     the same, with its cgroup frozen
    stopped    init is gone, or only its zombie is left

Source: runtime-spec runtime.md#state; docs/runc-compat/state.md#status.
"""

from __future__ import annotations

from ocirun.container.init_process import is_there
from ocirun.process.gate import is_closed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from ocirun.cgroups.cgroup import Cgroup
    from ocirun.container.record import Record

CREATING: Final = "creating"
CREATED: Final = "created"
RUNNING: Final = "running"
PAUSED: Final = "paused"
STOPPED: Final = "stopped"


def status_of(record: Record) -> str:
    """Return the status of the container."""
    if not record.init_process_pid:
        return CREATING if record.directory.is_locked_by_another() else STOPPED
    # Two processes never have the same pid and start time: neither a reused pid nor a reboot
    # makes a stopped container look alive.
    if not is_there(record):
        return STOPPED
    if is_frozen(record):
        return PAUSED
    if not is_closed(record.directory.fd):
        return RUNNING
    return CREATING if record.directory.is_locked_by_another() else CREATED


def is_frozen(record: Record) -> bool:
    """Return whether the container's cgroup is frozen; one that is gone is not."""
    return bool(record.cgroup_paths) and cgroup_of(record).is_frozen()


def cgroup_of(record: Record) -> Cgroup:
    """Return the container's cgroup, with the manager it was made with."""
    from ocirun.cgroups.choose import known_cgroup

    return known_cgroup(
        record.cgroup_paths,
        record.cgroup_manager,
        record.systemd_unit,
        inode=record.cgroup_inode,
    )
