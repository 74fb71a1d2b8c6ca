"""Stop a container where it is, and let it go on.

Source: docs/runc-compat/cli.md#pause-and-resume, docs/runc-compat/cgroups.md#freezing-and-killing.
"""

from __future__ import annotations

from ocirun.container.status import CREATED, PAUSED, RUNNING, cgroup_of, status_of
from ocirun.errors import WrongStatus

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirun.container.store import Store


def pause(store: Store, container_id: str) -> None:
    """Freeze the container's processes.

    Raises:
        WrongStatus: it is neither created nor running. SetupError: it has no freezer.
    """
    with store.load(container_id) as record:
        status = status_of(record)
        if status not in (CREATED, RUNNING):
            raise WrongStatus(container_id, status, "container not running")
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
        cgroup_of(record).thaw()


def processes(store: Store, container_id: str) -> list[int]:
    """List the host pids of the container's processes, sorted.

    Raises:
        ContainerNotFound: no such container.
    """
    with store.load(container_id) as record:
        return cgroup_of(record).processes()
