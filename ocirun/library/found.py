"""The init of a container that another program created, or that this one no longer holds."""

from __future__ import annotations

import os

from ocirun.container.exit_status import kept_exit
from ocirun.container.init_process import open_init
from ocirun.errors import ContainerError
from ocirun.kernel.exit_status import status_of_zombie
from ocirun.library.child import Child

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirun.container.record import Record
    from ocirun.container.store import Store


def find_init(store: Store, container_id: str) -> Child:
    """Return the init of a recorded container, with its exit status as far as it is known.

    Raises:
        ContainerNotFound: there is none of this id.
    """
    with store.load(container_id) as record:
        pid, start = record.init_process_pid, record.init_process_start
        try:
            child = Child(pid, open_init(record), start=start, ours=False)
        except ProcessLookupError:
            return _ended(record)
        record.init_pidfd = -1  # the child's
        return child


def _ended(record: Record) -> Child:
    pid, start = record.init_process_pid, record.init_process_start
    child = Child(pid, -1, start=start, ours=False)
    # Order: whoever reaps init records its status only afterwards.
    status = status_of_zombie(pid, start)
    child.returncode = kept_exit(record) if status is None else os.waitstatus_to_exitcode(status)
    if child.returncode is None:
        child.lost = (
            "its parent has reaped it and left no status beside the record; the command line, "
            "containerd's shim and conmon do not"
        )
    return child


def look_up(store: Store, container_id: str, child: Child) -> None:
    """Set the status of `child`, which has ended, from the record if that has it."""
    try:
        with store.load(container_id) as record:
            if record.init_process_pid == child.pid:
                child.returncode = kept_exit(record)
    except ContainerError:  # deleted, or damaged
        return
