"""Add mounts to a container that runs, and take mounts away.

Bind mounts' sources and most file systems are made out here, where paths are the host's
(process/mounts_parent.py enters the container with them). Nothing is remembered: the container's
configuration stays as it was at create, as `exec` needs it.

Source: docs/runc-compat/cli.md#mounts; runtime-spec config.md#mounts.
"""

from __future__ import annotations

import os

from ocirun.container.init_process import is_there, open_init
from ocirun.container.record import read_config
from ocirun.container.request import warn_of_relative
from ocirun.container.status import CREATING, STOPPED, status_of
from ocirun.errors import Problem, SpecError, UnsupportedError, WrongStatus, doing
from ocirun.process import mounts_parent
from ocirun.process.exec_parent import flags_of
from ocirun.process.idmapped_mounts import open_idmapped_sources
from ocirun.process.request import Request
from ocirun.rootfs import hot_mounts, locked_flags
from ocirun.rootfs.context import read_entries
from ocirun.rootfs.mountpoints import clean
from ocirun.rootfs.source_trees import open_source
from ocirun.security.executable import require_seal
from ocirun.spec.load import conforms, read_document, read_open_document
from ocirun.spec.rules import check_rules

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    from ocirun.container.record import Record
    from ocirun.container.store import Store
    from ocirun.rootfs.context import Entry
    from ocirun.spec.types import Config

MEMBER: Final = "/mounts"  # where the list stands in a config.json, and problems say so


def add_mounts(store: Store, container_id: str, path: str) -> None:
    """Mount in the container what the file `path`, a JSON array like `mounts`, says: all or none.

    Raises:
        WrongStatus: it is not there to be entered. SpecError: the file breaks a rule, or asks for
            what a running container cannot be given. SetupError: a step failed.
    """
    with _MountedContainer(store, container_id) as entered:
        config = read_list(path, entered.config)
        warn_of_relative(config)
        entries = read_entries(config, entered.record.bundle)
        for entry in entries:
            hot_mounts.refuse_late(entry)
        mounts_parent.add(entered.target, entries, lambda: _prepare(config, entries, entered))


def remove_mounts(store: Store, container_id: str, path: str) -> None:
    """Unmount, lazily, what is mounted at the destinations in the file `path`, the last one first.

    Raises:
        WrongStatus, SpecError: as add_mounts. SetupError: nothing is mounted at one of them, or
            what is there hides something from the container; nothing is unmounted then.
    """
    with _MountedContainer(store, container_id) as entered:
        config = read_list(path, entered.config)
        destinations = [clean(mount["destination"]) for mount in config["mounts"]]
        linux = entered.config.get("linux", {})
        covers = [*(linux.get("maskedPaths") or []), *(linux.get("readonlyPaths") or [])]
        for index, destination in enumerate(destinations):
            hot_mounts.refuse_place(destination)
            if destination in map(clean, covers):
                message = f'"{destination}" covers what the container must not reach'
                raise UnsupportedError([Problem(f"/{index}/destination", message)], path)
        mounts_parent.remove(entered.target, destinations)


def read_list(path: str, config: Config) -> Config:
    """Read the file, "-" for standard input, and return `config` with that list as its mounts.

    It has to keep the rules that the list of a config.json has to keep.

    Raises:
        SpecError: it does not.
    """
    if path == "-":
        path = "standard input"
        mounts = read_open_document(0, path)
    else:
        mounts = read_document(path, path)
    document: dict[str, Any] = {**config, "mounts": mounts}
    if not conforms(document, "config"):
        from ocirun.spec.schema import report  # cold: loads jsonschema

        raise _refusal(report(document), path)
    changed: Config = document  # type: ignore[assignment]  # check_config is what makes it one
    problems = [one for one in check_rules(changed) if one.pointer.startswith(MEMBER)]
    if problems:
        raise _refusal(problems, path)
    return changed


def _refusal(problems: list[Problem], path: str) -> SpecError:
    own = [
        Problem(problem.pointer.removeprefix(MEMBER), problem.message, problem.remedy)
        for problem in problems
    ]
    return SpecError(own, path)


def _prepare(config: Config, entries: list[Entry], entered: _MountedContainer) -> dict[int, int]:
    """Make what is made outside the container: index in the list → detached mount."""
    request = Request(config)
    # From here the host's files are in sight, whatever mount namespace the container has joined.
    request.namespaces.paths.pop("mount", None)
    request.bundle = entered.record.bundle
    userns = request.namespaces.has("user")
    fds: dict[int, int] = {}
    try:
        for entry in entries:
            if entry.options.bind and not entry.is_idmapped:
                fd = open_source(entry, userns=userns)
                assert fd is not None, "refuse_late lets through what has a source only"  # noqa: S101
                fds[entry.index] = fd
            elif not entry.options.bind and entry.fs_name not in hot_mounts.MADE_INSIDE:
                with doing(f'making "{entry.fs_name}" for "{entry.destination}"'):
                    fds[entry.index] = hot_mounts.make_outside(entry)
        if any(entry.is_idmapped for entry in entries):
            if userns:
                request.namespaces.fds["user"] = entered.open_user_namespace()
            open_idmapped_sources(entries, config, request, fds)
        if userns:
            locked_flags.lock_flags([one for one in entries if one.options.bind], fds)
        for entry in entries:
            if entry.options.bind:
                with doing(f'setting the attributes of "{entry.destination}"'):
                    hot_mounts.finish_outside(entry, fds[entry.index], keep=userns)
    except BaseException:
        for fd in fds.values():
            os.close(fd)
        raise
    finally:
        request.namespaces.close()
    return fds


class _MountedContainer:
    """A container that can be entered, for the length of a block."""

    __slots__ = ("config", "record", "target")

    def __init__(self, store: Store, container_id: str) -> None:
        require_seal()
        self.record: Record = store.load(container_id)
        try:
            self.record.refuse_engine("mounts")
            self._check_status()
            self.config: Config = read_config(self.record.directory)
        except BaseException:
            self.record.close()
            raise
        self.target: mounts_parent.MountTarget

    def _check_status(self) -> None:
        status = status_of(self.record)
        if status in (CREATING, STOPPED):
            raise self._not_running(status)

    def _not_running(self, status: str) -> WrongStatus:
        return WrongStatus(self.record.id, status, "container not running")

    def __enter__(self) -> _MountedContainer:
        try:
            self.target = self._open_target()
        except BaseException:
            self.record.close()
            raise
        return self

    def _open_target(self) -> mounts_parent.MountTarget:
        request = Request(self.config)
        namespaces = request.namespaces
        if not namespaces.has("mount"):
            message = "the container has no mount namespace of its own"
            raise UnsupportedError([Problem("/linux/namespaces", message)])
        try:
            init_pidfd = open_init(self.record)
            flags = flags_of(self.record.init_process_pid)
        except (ProcessLookupError, FileNotFoundError):
            raise self._not_running(STOPPED) from None
        # Order: looked at last: the flags are then those of the process that the pidfd names.
        if not is_there(self.record):
            raise self._not_running(STOPPED)
        return mounts_parent.MountTarget(init_pidfd, flags, request.mount_label)

    def open_user_namespace(self) -> int:
        """Open the user namespace of the container's init. The caller closes it."""
        with doing("opening the user namespace of the container"):
            path = f"/proc/{self.record.init_process_pid}/ns/user"
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def __exit__(self, *_: object) -> None:
        self.record.close()
