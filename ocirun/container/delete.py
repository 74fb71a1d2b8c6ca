"""Delete a container: everything that is left of it, also of one that was never finished.

What is deleted is the container whose folder was opened. While another process is still making it,
`delete --force` ends init, which makes that process give up, and waits for it.

Source: runtime-spec runtime.md#delete, runtime.md#lifecycle steps 11 to 13;
docs/runc-compat/cli.md#delete.
"""

from __future__ import annotations

import os
import time

from ocirun.container.init_process import is_there, signal_init
from ocirun.container.kill import SIGKILL, kill_and_wait
from ocirun.container.record import CONFIG_FILE, INIT_LINK, STATE_FILE, Record, read_config
from ocirun.container.status import CREATED, CREATING, STOPPED, cgroup_of, status_of
from ocirun.errors import (
    ContainerError,
    ContainerNotFound,
    DamagedRecord,
    HookError,
    OcirunError,
    SetupError,
    WrongStatus,
    what_failed,
)
from ocirun.spec import NETWORKS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Final

    from ocirun.container.folder import Folder
    from ocirun.container.store import Store
    from ocirun.spec.types import Config

NETWORKS_FILE: Final = "networks.json"  # as in networks.py, which is cold
MAKER_WAIT_S: Final = 10.0
OTHER_DELETE_WAIT_S: Final = 0.2
LOCK_ROUND_S: Final = 0.05


def delete(store: Store, container_id: str, force: bool) -> list[OcirunError]:
    """Remove a stopped or created container; with `force` a running one too.

    Returns:
        What failed without stopping the deletion: poststop hooks, and what could not be known of a
        container whose record is damaged.

    Raises:
        ContainerNotFound: there is none, and `force` is not set.
        NotAContainer: a link or something else has its name. WrongStatus: it is running.
        DamagedRecord: it is damaged (not with `force`). ContainerError: it cannot be killed.
        SetupError: the cgroup could not be removed, because a process that is not the container's
            is in it. Without `force` the record stays, and `delete` can be repeated.
    """
    try:
        folder = store.open(container_id)
    except ContainerNotFound:
        if force:
            return []
        raise
    with folder:
        _take(folder, force)
        if not folder.is_in_place():  # another delete was faster
            if force:
                return []
            raise ContainerNotFound(container_id)
        record, failures = _read(folder, force)
        if record is None:
            if NETWORKS_FILE in os.listdir(folder.fd):
                from ocirun.container.networks import detach_networks

                _try(failures, detach_networks, folder)
            # A create that was killed before it had written anything leaves an empty folder.
            folder.remove()
            if force:
                return failures
            raise ContainerNotFound(container_id)
        with record:
            status = status_of(record)
            if status not in (STOPPED, CREATED) and not force:
                raise _not_stopped(container_id, status)
            if status != STOPPED:
                kill_and_wait(record)
            failures += destroy(record, repeatable=not force)
    _raise_lasting(failures)
    return failures


def _not_stopped(container_id: str, status: str) -> WrongStatus:
    return WrongStatus(
        container_id,
        status,
        f"cannot delete container {container_id} that is not stopped: {status}",
    )


def _take(folder: Folder, force: bool) -> None:
    """Lock the folder; end its maker if there is one and `force` says so.

    Raises:
        WrongStatus: it is being created. ContainerError: its creator does not stop.
    """
    if folder.lock():
        return
    if not force:
        if folder.lock(OTHER_DELETE_WAIT_S):
            return
        raise _not_stopped(folder.id, CREATING)
    end = time.monotonic() + MAKER_WAIT_S
    while not folder.lock(LOCK_ROUND_S):
        _end_init(folder)
        if time.monotonic() > end:
            message = f"container {folder.id} is still being created, and its creator does not stop"
            raise ContainerError(folder.id, message)


def _end_init(folder: Folder) -> None:
    """Kill the init of a container that is being made, as far as there is one yet."""
    try:
        record = Record.read(folder)
    except DamagedRecord:
        record = Record.recover(folder)
    if record and is_there(record):
        try:
            signal_init(record, SIGKILL, tolerate_gone=True)
        finally:
            record.close_init()


def _read(folder: Folder, force: bool) -> tuple[Record | None, list[OcirunError]]:
    """Read the record, with `force` what is left of it; return it and what is damaged."""
    try:
        record = Record.read(folder)
    except DamagedRecord as error:
        if not force:
            raise
        fault: OcirunError = error
    else:
        # Order: the record is written after the configuration, and the link after both.
        if record or not {CONFIG_FILE, INIT_LINK}.intersection(os.listdir(folder.fd)):
            return record, []
        fault = DamagedRecord(folder.id, f"{folder.path}/{STATE_FILE} is gone")
        if not force:
            raise fault
    record = Record.recover(folder)
    if record is None:
        message = (
            f"{fault}, and so is {INIT_LINK}: processes of container {folder.id}, if any are left, "
            "cannot be found"
        )
        return None, [DamagedRecord(folder.id, message)]
    failures = [fault]
    try:
        config = read_config(folder)
    except DamagedRecord as error:
        failures.append(error)
    else:
        record.annotations = config.get("annotations") or {}
        record.oci_version = config["ociVersion"]
        record.hooks = [moment for moment, hooks in (config.get("hooks") or {}).items() if hooks]
    return record, failures


def destroy(record: Record, *, repeatable: bool = False) -> list[OcirunError]:
    """Remove everything that is left of a container whose init is gone.

    Each step is tried, whatever became of the one before. Only if the deletion is `repeatable` and
    something outside of the folder could not be removed, that stays and the poststop hooks wait.
    If the folder is no longer in place, the container was deleted by another process: what has its
    names now is not touched.

    Returns:
        What failed.

    Raises:
        OcirunError: what failed, and the deletion can be repeated.
    """
    folder = record.directory
    failures: list[OcirunError] = []
    if not folder.lock(MAKER_WAIT_S) or not folder.is_in_place():
        return failures
    if record.engine:
        from ocirun.engines.engine import engine_of  # cold

        # Order: it removes the cgroup by itself, and must not find that gone.
        failures += engine_of(record).release(record)
    if record.cgroup_paths:
        cgroup = cgroup_of(record)
        if not record.private_pid:
            _try(failures, cgroup.kill_all)
        # After this nobody knows the cgroup any more, so a call that fails once is made again.
        if repeatable or not _try([], cgroup.remove):
            _try(failures, cgroup.remove)
    if record.intel_rdt_made:
        from ocirun.resctrl.group import remove_groups

        _try(failures, remove_groups, record.intel_rdt_made)
    if NETWORKS in record.annotations:
        from ocirun.container.networks import detach_networks

        _try(failures, detach_networks, folder)
    if repeatable and failures:
        raise _as_one(failures)
    config: Config | None = None
    if "poststop" in record.hooks:
        try:
            config = read_config(folder)
        except OcirunError as error:
            failures.append(error)
    _try(failures, folder.remove)
    folder.unlock()
    if config is not None:
        from ocirun.container.hooks import run_poststop

        failures += run_poststop(config, record.state(STOPPED))
    return failures


def _try(failures: list[OcirunError], act: Callable[..., object], *arguments: Any) -> bool:  # noqa: ANN401  # of `act`
    """Do `act`; return whether it succeeded, else add why not to `failures`."""
    try:
        act(*arguments)
    except OcirunError as error:
        failures.append(error)
    except OSError as error:
        failures.append(SetupError(what_failed(error), error.errno or 0))
    else:
        return True
    return False


def _raise_lasting(failures: list[OcirunError]) -> None:
    """Raise the first failure by which something of the container has stayed on the host."""
    lasting = [error for error in failures if not isinstance(error, (HookError, DamagedRecord))]
    if lasting:
        raise _as_one([*lasting, *(error for error in failures if error not in lasting)])


def _as_one(failures: list[OcirunError]) -> OcirunError:
    """Return the first failure, with the others as notes."""
    for other in failures[1:]:
        failures[0].add_note(f"and: {other}")
    return failures[0]
