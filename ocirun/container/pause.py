"""Stop a container where it is, and let it go on.

Source: docs/runc-compat/cli.md#pause-and-resume, docs/runc-compat/cgroups.md#freezing-and-killing.
"""

from __future__ import annotations

import os

from ocirun.container.status import CREATED, PAUSED, RUNNING, STOPPED, cgroup_of, status_of
from ocirun.errors import WrongStatus, warn
from ocirun.process.gate import is_closed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirun.container.record import Record
    from ocirun.container.store import Store
    from ocirun.engines.engine import Engine


def pause(store: Store, container_id: str) -> None:
    """Freeze the container's processes.

    Raises:
        WrongStatus: it is neither created nor running. SetupError: it has no freezer.
    """
    with store.load(container_id) as record:
        status = status_of(record)
        if status not in (CREATED, RUNNING):
            raise WrongStatus(container_id, status, "container not running")
        if record.engine and status == RUNNING:
            _engine_of(record).freeze(record)
        else:
            cgroup_of(record).freeze()


def resume(store: Store, container_id: str) -> None:
    """Thaw the container's processes.

    Raises:
        WrongStatus: it is not paused.
    """
    with store.load(container_id) as record:
        status = status_of(record)
        if status != PAUSED:
            raise WrongStatus(container_id, status, "container not paused")
        if record.engine and not is_closed(record.directory.fd):
            _engine_of(record).thaw(record)
        else:
            cgroup_of(record).thaw()


def processes(store: Store, container_id: str) -> list[int]:
    """List the host pids of the container's processes, sorted.

    Without a cgroup they are init and what is in its pid namespace, with a warning: others that
    left that namespace, or share the host's, are not known.

    Raises:
        ContainerNotFound: no such container.
    """
    with store.load(container_id) as record:
        if record.engine:
            return _engine_of(record).processes(record)
        if record.cgroup_paths or status_of(record) == STOPPED:
            return cgroup_of(record).processes()
        warn(f"container {container_id} has no cgroup: processes are found by its pid namespace")
        return _processes_of_namespace(record)


def _engine_of(record: Record) -> Engine:
    from ocirun.engines.engine import engine_of  # cold

    return engine_of(record)


def _processes_of_namespace(record: Record) -> list[int]:
    init = record.init_process_pid
    own = _pid_namespace("self")
    namespace = _pid_namespace(init)
    found = {init}
    if namespace not in (own, ""):
        pids = [int(name) for name in os.listdir("/proc") if name.isdecimal()]
        found.update(pid for pid in pids if _pid_namespace(pid) == namespace)
    return sorted(found)


def _pid_namespace(pid: int | str) -> str:
    """Return the name of a process's pid namespace, "" where it is gone or not ours to see."""
    try:
        return os.readlink(f"/proc/{pid}/ns/pid")
    except OSError:
        return ""
