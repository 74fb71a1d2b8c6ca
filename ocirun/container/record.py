"""What we remember about a container: written whole or not at all, small, never a status.

The status is derived (status.py). Names of keys follow runc's state.json, which other tools read.
"""

from __future__ import annotations

import os

from ocirun.errors import ContainerError, SpecError, doing
from ocirun.spec.jsontext import compact, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    from ocirun.spec.types import Config

STATE_FILE: Final = "state.json"
CONFIG_FILE: Final = "config.json"


class Record:
    """One container, as create left it.

    `init_process_pid` is 0 until init is there; with `init_process_start` (clock ticks since
    boot) it names one process for good. `created` is RFC 3339 with nanoseconds, UTC.
    `intel_rdt_path` is its class of service, `intel_rdt_monitoring` its monitoring group ("" for
    none), `intel_rdt_made` what of these goes with it.
    `systemd_unit` is the unit that systemd has for it, "" without systemd.
    `external_descriptors` are the kernel's names of what it was given as fds 0 to 2 (none with a
    terminal), by which a restore finds the pipes among them.
    `keyring` is the name of its session keyring, which nobody could know before.
    `private_pid` says that the container's processes die with its init.
    """

    __slots__ = (
        "annotations",
        "bundle",
        "cgroup_manager",
        "cgroup_paths",
        "created",
        "external_descriptors",
        "hooks",
        "id",
        "init_process_pid",
        "init_process_start",
        "intel_rdt_made",
        "intel_rdt_monitoring",
        "intel_rdt_path",
        "keyring",
        "no_new_keyring",
        "oci_version",
        "owner",
        "private_pid",
        "rootfs",
        "systemd_unit",
    )

    def __init__(self, container_id: str) -> None:
        self.id = container_id
        self.oci_version = ""
        self.bundle = ""
        self.rootfs = ""
        self.created = ""
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
        self.systemd_unit = ""
        self.annotations: dict[str, str] = {}
        self.hooks: list[str] = []

    @classmethod
    def read(cls, directory: str, container_id: str) -> Record | None:
        """Read the record in `directory`; None when there is none (yet).

        Raises:
            ContainerError: the file is damaged.
        """
        data = _read(f"{directory}/{STATE_FILE}")
        if data is None:
            return None
        record = cls(container_id)
        try:
            fields = parse(data, STATE_FILE, "surrogateescape")
        except SpecError as error:
            raise ContainerError(container_id, f"{directory}: {error}") from error
        if not isinstance(fields, dict):
            raise ContainerError(container_id, f"{directory}: {STATE_FILE} holds no object")
        for name in cls.__slots__:
            if name in fields:
                setattr(record, name, fields[name])
        return record

    def write(self, directory: str) -> None:
        """Write the record into `directory`, in one step for whoever reads it."""
        fields = {name: getattr(self, name) for name in self.__slots__}
        _write_whole(directory, STATE_FILE, compact(fields))

    def state(self, status: str) -> dict[str, Any]:
        """The state of the specification, as hooks get it on stdin.

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


def write_config(directory: str, config: Config) -> None:
    """Keep the configuration as it is now: later edits of the bundle must not leak in."""
    _write_whole(directory, CONFIG_FILE, compact(config))


def read_config(directory: str) -> Config:
    """Read the kept configuration.

    Raises:
        SetupError: it is gone.
    """
    with doing(f"reading {directory}/{CONFIG_FILE}"):
        data = _read(f"{directory}/{CONFIG_FILE}")
        if data is None:
            raise FileNotFoundError(2, os.strerror(2))
    config: Config = parse(data, CONFIG_FILE, "surrogateescape")  # type: ignore[assignment]  # we wrote it
    return config


def _read(path: str) -> bytes | None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        data = bytearray()
        while piece := os.read(fd, 1 << 20):
            data += piece
        return bytes(data)
    except OSError as error:
        error.filename = path  # read(2) knows only a number
        raise
    finally:
        os.close(fd)


def _write_whole(directory: str, name: str, text: str) -> None:
    temporary = f"{directory}/.{name}.{os.getpid()}"
    with doing(f"writing {directory}/{name}"):
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            data = memoryview(os.fsencode(text))
            while data:
                data = data[os.write(fd, data) :]
        except BaseException:
            os.unlink(temporary)
            raise
        finally:
            os.close(fd)
        os.rename(temporary, f"{directory}/{name}")
