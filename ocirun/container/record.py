"""What is kept of a container: written whole or not at all, small, never a status.

    ROOT/ID/state.json    the record; its keys follow runc's state.json, which other tools read
    ROOT/ID/init          a symbolic link whose text repeats what finds the container's processes
    ROOT/ID/config.json   the configuration as it was at create, with the limits now in force

The link is for `delete --force` of a container whose state.json is damaged: it is made by one
system call and cannot be half written. Both name the inode of their folder: those in a copy of it
belong to another container, and are not used.

Source: docs/runc-compat/state.md.
"""

from __future__ import annotations

import os
import time

from ocirun.errors import ContainerError, DamagedRecord, SpecError, doing, kernel_words
from ocirun.spec.jsontext import compact, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    from ocirun.container.folder import Folder
    from ocirun.process.request import Request
    from ocirun.spec.types import Config

STATE_FILE: Final = "state.json"
CONFIG_FILE: Final = "config.json"
INIT_LINK: Final = "init"
LONGEST_LINK: Final = 4000  # symlink(2) takes PATH_MAX less one
LARGEST_PID: Final = 1 << 22  # PID_MAX_LIMIT
MANAGERS: Final = ("cgroupfs", "systemd", "disabled")

# Each member and its type in JSON; of a list and an object the members are texts.
SHAPE: Final[dict[str, type]] = {
    "annotations": dict,
    "bundle": str,
    "cgroup_inode": int,
    "cgroup_manager": str,
    "cgroup_paths": dict,
    "created": str,
    "engine": str,
    "external_descriptors": list,
    "folder_inode": int,
    "hooks": list,
    "id": str,
    "init_process_pid": int,
    "init_process_start": int,
    "intel_rdt_made": list,
    "intel_rdt_monitoring": str,
    "intel_rdt_path": str,
    "keyring": str,
    "no_new_keyring": bool,
    "oci_version": str,
    "owner": int,
    "private_pid": bool,
    "rootfs": str,
    "systemd_unit": str,
}
# What every version of ocirun has written, and what nothing can be found without.
REQUIRED: Final = ("id", "init_process_pid", "init_process_start", "cgroup_paths", "private_pid")
# What the link repeats, the least important last.
IN_LINK: Final = (
    *("folder_inode", "id", "init_process_pid", "init_process_start", "private_pid"),
    *("cgroup_manager", "systemd_unit", "cgroup_inode", "cgroup_paths", "bundle"),
)


class Record:
    """One container, as create left it.

    `init_process_pid` is 0 until init is there; with `init_process_start` (clock ticks since
    boot) it names one process for good. `created` is RFC 3339 with nanoseconds, UTC.
    `cgroup_inode` is that of its main cgroup directory, 0 without one; `folder_inode` that of its
    folder. `intel_rdt_path` is its class of service, `intel_rdt_monitoring` its monitoring group
    ("" for none), `intel_rdt_made` what of these goes with it.
    `systemd_unit` is the unit that systemd has for it, "" without systemd.
    `external_descriptors` are the kernel's names of what it was given as fds 0 to 2 (none with a
    terminal), by which a restore finds the pipes among them.
    `keyring` is the name of its session keyring, which is random.
    `engine` is the name of its engine (engines/engine.py), "" for native.
    `private_pid` says that the container's processes die with its init.

    `directory` is the container's folder, open as long as the record is; `init_pidfd` its init,
    -1 until it is opened (init_process.py). Both belong to the record. `child_pid` is the
    child of this process that an engine has started, 0 where it has not.
    """

    __slots__ = (*SHAPE, "child_pid", "directory", "init_pidfd")

    def __init__(self, directory: Folder) -> None:
        self.directory = directory
        self.init_pidfd = -1
        self.child_pid = 0
        self.id = directory.id
        self.folder_inode = directory.inode()
        self.oci_version = ""
        self.bundle = ""
        self.rootfs = ""
        self.created = ""
        self.engine = ""
        self.owner = 0
        self.init_process_pid = 0
        self.init_process_start = 0
        self.keyring = ""
        self.no_new_keyring = False
        self.private_pid = True
        self.intel_rdt_path = ""
        self.intel_rdt_monitoring = ""
        self.intel_rdt_made: list[str] = []
        self.external_descriptors: list[str] = []
        self.cgroup_paths: dict[str, str] = {}
        self.cgroup_manager = "cgroupfs"
        self.cgroup_inode = 0
        self.systemd_unit = ""
        self.annotations: dict[str, str] = {}
        self.hooks: list[str] = []

    def __enter__(self) -> Record:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close what the record holds open. May be called twice."""
        self.close_init()
        self.directory.close()

    def close_init(self) -> None:
        """Close the pidfd of init, and keep the folder open. May be called twice."""
        if self.init_pidfd >= 0:
            os.close(self.init_pidfd)
            self.init_pidfd = -1

    @classmethod
    def read(cls, directory: Folder) -> Record | None:
        """Read the record in `directory`, which then belongs to it; None without one (yet).

        Raises:
            DamagedRecord: the file is there, and not what was written.
        """
        if directory.written:
            record = cls(directory)
            known = directory.written.fields(directory, record.folder_inode)
            if known is not None:
                record._fill(known)
                return record
        fields = _read_object(directory, STATE_FILE)
        return None if fields is None else cls._of(directory, fields, STATE_FILE)

    @classmethod
    def recover(cls, directory: Folder) -> Record | None:
        """Read what the link `init` repeats of a damaged record; None if that is lost, too.

        `directory` then belongs to the record.
        """
        try:
            text = os.readlink(INIT_LINK, dir_fd=directory.fd)
            fields = parse(os.fsencode(text), INIT_LINK, "surrogateescape")
            if isinstance(fields, dict):
                # The folder's name may have changed; that it is the same folder is what counts.
                return cls._of(directory, {**fields, "id": directory.id}, INIT_LINK)
        except (OSError, SpecError, DamagedRecord):
            return None
        return None

    @classmethod
    def _of(cls, directory: Folder, fields: dict[str, Any], file: str) -> Record:
        record = cls(directory)
        if fault := fault_of(fields, record.id, record.folder_inode):
            raise DamagedRecord(record.id, f"{directory.path}/{file} is damaged: {fault}")
        record._fill(fields)
        return record

    def _fill(self, fields: dict[str, Any]) -> None:
        for name in SHAPE:
            if name in fields:
                setattr(self, name, fields[name])

    def refuse_engine(self, verb: str) -> None:
        """Refuse a container of an engine for a verb that only native has.

        Raises:
            ContainerError: it is one.
        """
        if self.engine:
            message = f"{verb}: container {self.id} is run by the engine {self.engine}"
            raise ContainerError(self.id, message)

    def describe(self, config: Config, request: Request) -> None:
        """Set what is known of a new container before its cgroup and its init."""
        seconds, nanoseconds = divmod(time.time_ns(), 10**9)
        second = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
        self.created = f"{second}.{nanoseconds:09d}Z"
        self.oci_version = config["ociVersion"]
        self.bundle = request.bundle
        self.rootfs = request.rootfs
        self.owner = os.geteuid()
        self.private_pid = "pid" in request.namespaces.new
        self.no_new_keyring = request.no_new_keyring
        self.keyring = request.keyring
        self.annotations = config.get("annotations") or {}
        self.hooks = [moment for moment, hooks in (config.get("hooks") or {}).items() if hooks]

    def write(self) -> None:
        """Write the record into its folder, atomically, as readers see it."""
        self.directory.write(STATE_FILE, compact({name: getattr(self, name) for name in SHAPE}))

    def write_init(self) -> None:
        """Write the record of a container that has its init now, and the link."""
        self.write()
        with doing(f"writing {self.directory.path}/{INIT_LINK}"):
            fields = {name: getattr(self, name) for name in IN_LINK}
            text = os.fsencode(compact(fields))
            for name, nothing in (("bundle", ""), ("cgroup_paths", {})):
                if len(text) > LONGEST_LINK:
                    fields[name] = nothing
                    text = os.fsencode(compact(fields))
            os.symlink(text, INIT_LINK, dir_fd=self.directory.fd)

    def state(self, status: str) -> dict[str, Any]:
        """Return the state of the specification, as hooks get it on stdin.

        Source: runtime-spec runtime.md#state.
        """
        state: dict[str, Any] = {
            "ociVersion": self.oci_version,
            "id": self.id,
            "status": status,
            "pid": 0 if status == "stopped" else self.init_process_pid,
            "bundle": self.bundle,
        }
        if self.annotations:
            state["annotations"] = self.annotations
        return state


def fault_of(fields: dict[str, Any], container_id: str, folder_inode: int) -> str:
    """Return why `fields` are not the record of this container and folder; "" if they are."""
    for name in REQUIRED:
        if name not in fields:
            return f"it has no {name}"
    for name, value in fields.items():
        expected = SHAPE.get(name)
        if expected is not None and not _has_shape(value, expected):
            return f"{name} is of another type"
    if fields["id"] != container_id:
        return f"it is of container {fields['id']}"
    if fields.get("folder_inode", folder_inode) != folder_inode:
        return "it is a copy of another container's"
    return _fault_of_values(fields)


def _fault_of_values(fields: dict[str, Any]) -> str:
    if not 0 <= fields["init_process_pid"] <= LARGEST_PID or fields["init_process_start"] < 0:
        return "init_process_pid is no process"
    if fields.get("cgroup_manager", MANAGERS[0]) not in MANAGERS:
        return "cgroup_manager is unknown"
    for path in fields["cgroup_paths"].values():
        if not path.startswith("/") or "/../" in f"{path}/" or "\0" in path:
            return "cgroup_paths has one that is not absolute"
    return ""


def _has_shape(value: object, expected: type) -> bool:
    if type(value) is not expected:  # a bool is an int for isinstance
        return False
    if isinstance(value, dict):
        return all(isinstance(member, str) for member in value.values())
    return not isinstance(value, list) or all(isinstance(member, str) for member in value)


def write_config(directory: Folder, config: Config) -> None:
    """Keep the configuration as it is now: later edits of the bundle must not leak in."""
    directory.write(CONFIG_FILE, compact(config))


def read_config(directory: Folder) -> Config:
    """Read the kept configuration.

    Raises:
        DamagedRecord: it is gone, or not what was written.
    """
    from ocirun.spec import checks  # `state`, `kill` and most deletions need none of this

    fields = _read_object(directory, CONFIG_FILE)
    if fields is None:
        raise DamagedRecord(directory.id, f"{directory.path}/{CONFIG_FILE} is gone")
    if not checks.check_config(fields):
        message = f"{directory.path}/{CONFIG_FILE} is damaged: it is no configuration"
        raise DamagedRecord(directory.id, message)
    config: Config = fields  # type: ignore[assignment]  # check_config is what makes it one
    return config


def _read_object(directory: Folder, name: str) -> dict[str, Any] | None:
    """Read a JSON object from a file of the folder; None when that is not there.

    Raises:
        DamagedRecord: it cannot be read, or is not an object.
    """
    try:
        data = directory.read(name)
        fields = None if data is None else parse(data, name, "surrogateescape")
    except OSError as error:
        message = f"reading {directory.path}/{name}: {kernel_words(error)}"
        raise DamagedRecord(directory.id, message) from error
    except ContainerError as error:
        raise DamagedRecord(directory.id, str(error)) from error
    except SpecError as error:
        message = f"{directory.path}/{name} is damaged: {error.problems[0]}"
        raise DamagedRecord(directory.id, message) from error
    if data is not None and not isinstance(fields, dict):
        raise DamagedRecord(directory.id, f"{directory.path}/{name} is damaged: no JSON object")
    return fields  # type: ignore[return-value]  # checked above
