"""Checkpoint a container: CRIU saves its processes into files, and it is gone or goes on.

    dump           images of all it was; then the container is deleted, unless left running
    pre-dump       its memory only, while it runs; the next one saves what has changed since

Source: docs/runc-compat/checkpoint.md#dump; criu.org/Checkpoint/Restore.
"""

from __future__ import annotations

import os
from fcntl import F_GETFD, F_GETFL, FD_CLOEXEC, fcntl

from ocirun.container.criu_options import Folders, require_root
from ocirun.container.delete import destroy
from ocirun.container.kill import kill_and_wait
from ocirun.container.record import read_config
from ocirun.container.status import PAUSED, RUNNING, cgroup_of, is_frozen, status_of
from ocirun.criu.externals import saved_mounts, saved_namespaces
from ocirun.criu.messages import DUMP, PRE_DUMP
from ocirun.criu.service import Criu, ask_version, require_features
from ocirun.criu.settings import config_file
from ocirun.criu.stdio import save_names
from ocirun.errors import ContainerError, UsageError, WrongStatus, doing
from ocirun.kernel.procstat import start_time
from ocirun.process.namespaces import Namespaces

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    from ocirun.cgroups.paths import Hierarchy
    from ocirun.container.criu_options import CriuOptions
    from ocirun.container.record import Record
    from ocirun.container.store import Store
    from ocirun.errors import OcirunError

LOG: Final = "dump.log"


def checkpoint(store: Store, container_id: str, options: CriuOptions) -> list[OcirunError]:
    """Save a running or paused container into `options.image_path`.

    Returns:
        What failed of the poststop hooks of a container that is gone by now.

    Raises:
        WrongStatus: it does not run. UsageError: an option has no meaning.
        SetupError: CRIU failed, and the container runs (or is paused) as before.
    """
    require_root("checkpoint")
    with store.load(container_id) as record:
        record.refuse_engine("checkpoint")
        return _checkpoint(record, options)


def _checkpoint(record: Record, options: CriuOptions) -> list[OcirunError]:
    container_id, status = record.id, status_of(record)
    if status not in (RUNNING, PAUSED):
        message = f"Container cannot be checkpointed in {status} state"
        raise WrongStatus(container_id, status, message)
    options.check()
    configuration = config_file(record.annotations)
    ask_version()
    tracked = options.pre_dump or bool(options.parent_path)
    require_features(memory_tracking=tracked, lazy_pages=options.lazy_pages)
    if options.status_fd >= 0:
        _check_status_fd(options.status_fd)
    with Folders(options, LOG, make=True) as folders:
        _check_parent(options, folders)
        try:
            _dump(record, options, folders, configuration)
        except BaseException:
            # CRIU stops them all by the freezer; killed, it cannot let them go.
            if status == RUNNING and is_frozen(record):
                cgroup_of(record).thaw()
            raise
    if options.leave_running or options.pre_dump:
        return []
    kill_and_wait(record)
    return destroy(record)


def _check_parent(options: CriuOptions, folders: Folders) -> None:
    """Check that the parent's images are there: without them CRIU makes a full dump, silently.

    Raises:
        SetupError: the path leads to no folder.
    """
    if not options.parent_path:
        return
    with doing(f"opening the parent's images {options.parent_path}"):
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        os.close(os.open(options.parent_path, flags, dir_fd=folders.image_fd))


def _check_status_fd(fd: int) -> None:
    """Refuse a descriptor that the caller has not given us to write to.

    Raises:
        UsageError: it is not open, only for reading, or one of our own.
    """
    try:
        ours = fcntl(fd, F_GETFD) & FD_CLOEXEC
        writable = fcntl(fd, F_GETFL) & os.O_ACCMODE != os.O_RDONLY
    except OSError as error:
        raise UsageError(f"invalid --status-fd {fd}: it is not open") from error
    if ours or not writable:
        raise UsageError(f"invalid --status-fd {fd}: it is not open for writing")


def _dump(record: Record, options: CriuOptions, folders: Folders, configuration: str) -> None:
    kind = PRE_DUMP if options.pre_dump else DUMP
    fields = _fields(record, options, folders)
    if configuration:
        fields["config_file"] = configuration
    if not options.pre_dump:
        save_names(folders.image_fd, record.external_descriptors or ["", "", ""])
    with Criu(folders.work) as criu:
        criu.converse(kind, lambda name, _, __: _on_notify(options, name), opts=fields)


def _on_notify(options: CriuOptions, name: str) -> None:
    if options.tell:
        options.tell(f"criu: {name}")
    if name == "status-ready" and options.status_fd >= 0:
        with doing(f"writing to --status-fd {options.status_fd}"):
            os.write(options.status_fd, b"\0")


def _fields(record: Record, options: CriuOptions, folders: Folders) -> dict[str, Any]:
    """Fill in CRIU's options for this container."""
    config = read_config(record.directory)
    pid = record.init_process_pid
    with doing(f"looking at the processes of container {record.id}"):
        root_fd = os.open(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            hierarchies = _hierarchies(record)
            mounts = saved_mounts(config, record.bundle, hierarchies, root_fd)
        finally:
            os.close(root_fd)
        external = saved_namespaces(Namespaces(config), pid)
    # Order: after all that was looked up by its number, which could be another's by now.
    if start_time(pid) != record.init_process_start:
        raise ContainerError(record.id, "container not running")
    fields = {
        **options.common(),
        "images_dir_fd": folders.image_fd,
        "work_dir_fd": folders.work.fd,
        "log_file": LOG,
        "root": record.rootfs,
        "pid": pid,
        "ext_mnt": mounts,
        "external": external,
        "leave_running": options.leave_running,
        "tcp_skip_in_flight": options.tcp_skip_in_flight,
        "link_remap": options.link_remap,
        "track_mem": options.pre_dump or bool(options.parent_path),
    }
    # A hybrid host has both; what pauses a container there is that of v1.
    freezer = record.cgroup_paths.get("freezer") or record.cgroup_paths.get("")
    if freezer:
        fields["freeze_cgroup"] = freezer
    if options.parent_path:
        fields["parent_img"] = options.parent_path
    if options.page_server:
        fields["ps"] = options.server()
    return fields


def _hierarchies(record: Record) -> list[Hierarchy]:
    """Return the container's v1 cgroups on the host."""
    from ocirun.cgroups.paths import hierarchies_of, read_table

    return hierarchies_of(read_table(), record.cgroup_paths)
