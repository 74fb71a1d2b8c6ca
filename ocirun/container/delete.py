"""Delete a container: what is left of it goes, and also what a failed create left behind.

Source: runtime-spec runtime.md#delete, runtime.md#lifecycle steps 11 to 13;
docs/runc-compat/cli.md#delete.
"""

from __future__ import annotations

from ocirun.container.kill import kill_and_wait
from ocirun.container.record import read_config
from ocirun.container.status import CREATED, CREATING, STOPPED, cgroup_of, status_of
from ocirun.errors import ContainerError, ContainerNotFound, HookError, WrongStatus

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirun.container.record import Record
    from ocirun.container.store import Store


def delete(store: Store, container_id: str, force: bool) -> list[HookError]:
    """Remove a stopped or created container; with `force` a running one too.

    Returns:
        What failed of the poststop hooks; the container is gone nevertheless.

    Raises:
        ContainerNotFound: there is none, and `force` does not say that this is as good.
        WrongStatus: it is running. ContainerError: it cannot be killed.
    """
    try:
        record = store.load(container_id)
    except ContainerNotFound:
        if not force and store.is_being_made(container_id):
            raise _not_stopped(container_id, CREATING) from None
        # A create that was killed before it had written anything leaves an empty folder.
        store.remove(container_id)
        if force:
            return []
        raise
    except ContainerError:
        if not force:
            raise
        store.remove(container_id)  # a damaged record: nothing more can be learned from it
        return []
    status = status_of(store, record)
    if status not in (STOPPED, CREATED) and not force:
        raise _not_stopped(container_id, status)
    if status != STOPPED:
        kill_and_wait(record)
    return destroy(store, record)


def _not_stopped(container_id: str, status: str) -> WrongStatus:
    return WrongStatus(
        container_id,
        status,
        f"cannot delete container {container_id} that is not stopped: {status}",
    )


def destroy(store: Store, record: Record) -> list[HookError]:
    """Remove all that is left of a container whose init is gone; give failed poststop hooks."""
    if record.cgroup_paths:
        cgroup = cgroup_of(record)
        if not record.private_pid:
            cgroup.kill_all()
        cgroup.remove()
    if record.intel_rdt_made:
        from ocirun.resctrl.group import remove_groups

        remove_groups(record.intel_rdt_made)
    if "poststop" not in record.hooks:
        store.remove(record.id)
        return []
    from ocirun.container.hooks import run_poststop

    config = read_config(store.directory(record.id))
    store.remove(record.id)
    return run_poststop(config, record.state(STOPPED))
