"""Change the limits of a container that is there.

The configuration in the container's folder always has the limits in force: `exec` and the next
update read them there. Updates of one container happen one after the other. Nobody else waits for
them: the lock is on the record's file, and the configuration is exchanged in one step.

Source: docs/runc-compat/cli.md#update; runtime-spec config-linux.md#control-groups.
"""

from __future__ import annotations

import os

from ocirun.container.record import STATE_FILE, read_config, write_config
from ocirun.container.resources import given_part, to_restore, to_write, with_given
from ocirun.container.status import CREATING, STOPPED, cgroup_of, status_of
from ocirun.errors import (
    ContainerNotFound,
    OcirunError,
    SetupError,
    UsageError,
    WrongStatus,
    doing,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirun.cgroups.cgroup import Cgroup
    from ocirun.container.folder import Folder
    from ocirun.container.record import Record
    from ocirun.container.store import Store
    from ocirun.spec.types import IntelRdt, Linux, Resources


def update(store: Store, container_id: str, resources: Resources, schemas: IntelRdt) -> None:
    """Change what `resources` has, and leave the rest; where a step is refused, take all back.

    `resources` is a document that was checked. `schemas` has l3CacheSchema, memBwSchema,
    both or none.

    Raises:
        ContainerNotFound, WrongStatus: it does not exist, or does not run. UsageError: `schemas`
            for a container without intelRdt. SetupError: the kernel refused a value.
    """
    with store.load(container_id) as record:
        lock_fd = _lock(record.directory)
        try:
            _update(record, resources, schemas)
        except SetupError as error:
            _refuse_what_has_gone(record, error)
            raise
        finally:
            os.close(lock_fd)


def schemas_of(l3_cache_schema: str, mem_bw_schema: str) -> IntelRdt:
    """Return the two schemas as members of intelRdt; an empty one is left out."""
    schemas: IntelRdt = {}
    if l3_cache_schema:
        schemas["l3CacheSchema"] = l3_cache_schema
    if mem_bw_schema:
        schemas["memBwSchema"] = mem_bw_schema
    return schemas


def _lock(directory: Folder) -> int:
    """Wait until no other update is at work on the container.

    Returns:
        The descriptor that holds the lock; the caller closes it.
    """
    from ocirun.kernel.locks import lock

    path = f"{directory.path}/{STATE_FILE}"
    while True:
        try:
            fd = directory.open(STATE_FILE, os.O_RDWR | os.O_NONBLOCK)
        except FileNotFoundError:
            raise ContainerNotFound(directory.id) from None
        try:
            with doing(f"locking {path}"):
                lock(fd)
            if _is_still(fd, directory):
                return fd
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)  # another file is there by now, and others wait for that one


def _is_still(fd: int, directory: Folder) -> bool:
    try:
        there, here = os.stat(STATE_FILE, dir_fd=directory.fd), os.fstat(fd)
    except FileNotFoundError:
        return False
    return (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)


def _update(record: Record, resources: Resources, schemas: IntelRdt) -> None:
    _check_status(record)
    config = read_config(record.directory)
    linux: Linux = config.setdefault("linux", {})
    before = linux.get("resources") or {}
    rdt_before = linux.get("intelRdt")
    if schemas and rdt_before is None:
        raise UsageError("the container has no intelRdt, so it has no schema to update")
    given = given_part(resources)
    after = with_given(before, given)
    writes = to_write(given, after)
    linux["resources"] = after
    cgroup = cgroup_of(record)
    if writes and cgroup.manager == "disabled":
        raise UsageError("the container has no cgroup of its own, so it has no limits to update")
    try:
        with doing(f"updating the limits of {record.id}"):
            if writes:
                cgroup.update(writes)
            if schemas and rdt_before is not None:
                _apply_schemas(record, rdt_before, schemas)
                linux["intelRdt"] = {**rdt_before, **schemas}
        write_config(record.directory, config)
    except BaseException as error:  # an interrupted one must not leave half of it either
        _restore(cgroup, to_restore(writes, before), error)
        if schemas and rdt_before is not None:
            _restore_schemas(record, rdt_before, schemas, error)
        raise


def _check_status(record: Record) -> None:
    status = status_of(record)
    if status == STOPPED:
        raise _not_running(record, status)
    if status == CREATING:
        # What create has read already would be written over what is updated now.
        raise WrongStatus(record.id, status, "cannot update a container that is being created")


def _refuse_what_has_gone(record: Record, error: SetupError) -> None:
    """Raise WrongStatus where the container has ended meanwhile, which explains `error`."""
    if not record.directory.is_in_place():
        raise ContainerNotFound(record.id) from error
    status = status_of(record)
    if status == STOPPED:
        raise _not_running(record, status) from error


def _not_running(record: Record, status: str) -> WrongStatus:
    return WrongStatus(record.id, status, "container not running")


def _restore(cgroup: Cgroup, resources: Resources, error: BaseException) -> None:
    """Write back each section; what is refused is added to the `error` that led to it."""
    for name, value in resources.items():
        try:
            cgroup.update({name: value})  # type: ignore[misc]  # one section of them
        except (OcirunError, OSError) as second:
            error.add_note(f"and then, restoring {name}: {second}")


def _apply_schemas(record: Record, rdt: IntelRdt, schemas: IntelRdt) -> None:
    from ocirun.resctrl.group import ResctrlGroup

    place: IntelRdt = {"closID": rdt["closID"]} if "closID" in rdt else {}
    ResctrlGroup(record.id, {**place, **schemas}).apply()


def _restore_schemas(
    record: Record, before: IntelRdt, schemas: IntelRdt, error: BaseException
) -> None:
    old: IntelRdt = {key: before[key] for key in schemas if key in before}  # type: ignore[literal-required,assignment]
    try:
        _apply_schemas(record, before, old)
    except (OcirunError, OSError) as second:
        error.add_note(f"and then, restoring the resctrl schema: {second}")
