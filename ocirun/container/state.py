"""What `state` and `list` tell.

Source: runtime-spec runtime.md#query-state; docs/runc-compat/cli.md#state,
docs/runc-compat/cli.md#list.
"""

from __future__ import annotations

from ocirun.container.status import STOPPED, status_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ocirun.container.record import Record
    from ocirun.container.store import Store


def state_of(store: Store, container_id: str) -> dict[str, Any]:
    """Give the state of one container, its keys in runc's order.

    Raises:
        ContainerNotFound: no such container.
    """
    return _describe(store, store.load(container_id), owner="")


def list_states(store: Store) -> tuple[list[dict[str, Any]], list[str]]:
    """Give the states of all containers, and a sentence for each folder that cannot be read.

    One that is removed meanwhile is left out silently.
    """
    from ocirun.errors import ContainerNotFound, OcirunError

    states, broken = [], []
    for container_id in store.ids():
        try:
            record = store.load(container_id)
            states.append(_describe(store, record, owner=_user_name(record.owner)))
        except ContainerNotFound:
            if store.exists(container_id) and not store.is_being_made(container_id):
                broken.append(f"load container {container_id}: container does not exist")
        except OcirunError as error:
            broken.append(f"load container {container_id}: {error}")
    return states, broken


def _describe(store: Store, record: Record, owner: str) -> dict[str, Any]:
    status = status_of(store, record)
    state: dict[str, Any] = {
        "ociVersion": record.oci_version,
        "id": record.id,
        "pid": 0 if status == STOPPED else record.init_process_pid,
        "status": status,
        "bundle": record.bundle,
        "rootfs": record.rootfs,
        "created": record.created,
    }
    if record.annotations:
        state["annotations"] = record.annotations
    state["owner"] = owner
    return state


def _user_name(uid: int) -> str:
    """Name a user of the host from /etc/passwd; an unknown one is a number with a hash."""
    try:
        with open("/etc/passwd", encoding="utf-8", errors="surrogateescape") as passwd:
            for line in passwd:
                fields = line.split(":")
                if len(fields) > 2 and fields[2] == str(uid):
                    return fields[0]
    except FileNotFoundError:
        return f"#{uid}"
    return f"#{uid}"
