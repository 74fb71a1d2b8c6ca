"""What `state` and `list` report.

Source: runtime-spec runtime.md#query-state; docs/runc-compat/cli.md#state,
docs/runc-compat/cli.md#list.
"""

from __future__ import annotations

from ocirun.container.record import Record
from ocirun.container.status import STOPPED, status_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    from ocirun.container.store import Store

NO_TIME: Final = "0001-01-01T00:00:00Z"  # Go's zero: what reads a list has to read a time


def state_of(store: Store, container_id: str) -> dict[str, Any]:
    """Return the state of one container, its keys in runc's order.

    Raises:
        ContainerNotFound: no such container. DamagedRecord: it says what is damaged.
    """
    with store.load(container_id) as record:
        return _describe(record, owner="")


def list_states(store: Store) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the states of all containers, and a sentence for each record that is damaged.

    Of a damaged one the state has what can be found out. One that is removed meanwhile is left
    out silently.
    """
    from ocirun.errors import ContainerNotFound, DamagedRecord, NotAContainer, OcirunError

    states, broken = [], []
    for container_id in store.ids():
        try:
            with store.load(container_id) as record:
                states.append(_describe(record, owner=_user_name(record.owner)))
        except ContainerNotFound:
            if _is_leftover(store, container_id):
                broken.append(f"load container {container_id}: container does not exist")
        except NotAContainer:
            continue
        except DamagedRecord as error:
            broken.append(f"load container {container_id}: {error}")
            states += _found_of(store, container_id)
        except OcirunError as error:
            broken.append(f"load container {container_id}: {error}")
    return states, broken


def _is_leftover(store: Store, container_id: str) -> bool:
    """Return whether the folder has no record, and none is being made."""
    from ocirun.errors import ContainerError

    try:
        with store.open(container_id) as folder:
            return not folder.is_locked_by_another()
    except ContainerError:
        return False


def _found_of(store: Store, container_id: str) -> list[dict[str, Any]]:
    """Return the state of a container whose record is damaged, as far as it can be found."""
    from ocirun.errors import OcirunError

    try:
        with store.open(container_id) as folder:
            record = Record.recover(folder)
            if record is None:
                return []
            record.created = NO_TIME
            return [_describe(record, owner="")]
    except OcirunError:
        return []


def _describe(record: Record, owner: str) -> dict[str, Any]:
    status = status_of(record)
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
    """Return the name of a host user from /etc/passwd; an unknown one is a number with a hash."""
    try:
        with open("/etc/passwd", encoding="utf-8", errors="surrogateescape") as passwd:
            for line in passwd:
                fields = line.split(":")
                if len(fields) > 2 and fields[2] == str(uid):
                    return fields[0]
    except FileNotFoundError:
        return f"#{uid}"
    return f"#{uid}"
