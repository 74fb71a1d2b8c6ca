"""ocirun as a library: `ocirun.Container`.

A program with threads cannot fork safely, so containers made here get an executed init: a fresh,
sealed interpreter that learns everything from its socket. Everything else is what the command line
does; nothing here prints, and every failure is a class of `ocirun.errors`.
"""

from __future__ import annotations

import os

from ocirun.container.create import create as create_container
from ocirun.container.delete import delete as delete_container
from ocirun.container.kill import kill as kill_container
from ocirun.container.kill import signal_number
from ocirun.container.options import CreateOptions
from ocirun.container.start import start as start_container
from ocirun.container.state import state_of
from ocirun.container.store import Store, default_root
from ocirun.process.command import find_command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from ocirun.errors import OcirunError
    from ocirun.spec.types import Process, Resources


class Container:
    """A container, made by `create` or `run`, or found again by its id.

    It holds no descriptor and no state: what the container is doing is asked anew each time, and
    two objects of one id are the same container. `root` is the directory of the records, by
    default the one the command line uses.
    """

    __slots__ = ("id", "root")

    def __init__(self, container_id: str, *, root: str | None = None) -> None:
        self.id = container_id
        self.root = os.path.abspath(root) if root else default_root()

    def __repr__(self) -> str:
        return f"Container({self.id!r}, root={self.root!r})"

    @classmethod
    def create(
        cls,
        container_id: str,
        bundle: str,
        *,
        root: str | None = None,
        config: str = "config.json",
        console_socket: str | None = None,
        pidfd_socket: str | None = None,
        pid_file: str | None = None,
        no_pivot: bool = False,
        no_new_keyring: bool = False,
        preserve_fds: int = 0,
        cgroup_manager: str = "cgroupfs",
        notify_socket: str | None = None,
    ) -> Container:
        """Create a container from the bundle directory `bundle`, ready to be started.

        The container's stdio is this process's. The options are those of `ocirun create`; paths
        may be relative. A thread that changes the working directory meanwhile must not be
        surprised, so they are made absolute here. `notify_socket` is what the command has from
        NOTIFY_SOCKET, a path or "@" and an abstract name: the container gets a socket of its own,
        and `start`, given the same, tells this one when it is ready.

        Raises:
            SpecError: config.json breaks a rule, or asks for what this host cannot do.
            ContainerExists: the id is taken.
            SetupError: the kernel refused a step; nothing is left behind.
            HookError: a hook of the bundle failed; nothing is left behind.
        """
        container = cls(container_id, root=root)
        options = CreateOptions(
            bundle=os.path.abspath(bundle),
            config=config,
            console_socket=_absolute(console_socket),
            pidfd_socket=_absolute(pidfd_socket),
            pid_file=_absolute(pid_file),
            no_pivot=no_pivot,
            no_new_keyring=no_new_keyring,
            preserve_fds=preserve_fds,
            cgroup_manager=cgroup_manager,
            notify_socket=notify_socket,
            command=find_command(),
        )
        create_container(Store(container.root), container_id, options).close()
        return container

    @classmethod
    def run(
        cls,
        container_id: str,
        bundle: str,
        *,
        root: str | None = None,
        cgroup_manager: str = "cgroupfs",
    ) -> Container:
        """Create a container and start it, without waiting for its end.

        A container that cannot be started is deleted again.

        Raises:
            OcirunError: as `create` and `start`.
        """
        container = cls.create(container_id, bundle, root=root, cgroup_manager=cgroup_manager)
        try:
            container.start()
        except BaseException:
            container.delete(force=True)
            raise
        return container

    def start(self, *, notify_socket: str | None = None) -> None:
        """Start the program of the created container.

        With `notify_socket`, wait until it is ready or has ended.

        Raises:
            ContainerNotFound: there is none of this id.
            WrongStatus: it was started before.
        """
        start_container(Store(self.root), self.id, notify_socket)

    def exec(
        self,
        process: Process | Sequence[str],
        *,
        console_socket: str | None = None,
        pidfd_socket: str | None = None,
        pid_file: str | None = None,
        preserve_fds: int = 0,
        cgroups: tuple[str, ...] = (),
        ignore_paused: bool = False,
    ) -> int:
        """Run one more process in the container, without waiting for its end.

        `process` is one of the specification, which has from the container what it leaves out
        (as `ocirun exec --process`); or a list of words, which run as the container's own program
        does, without a terminal. Its stdio is this process's. The options are those of
        `ocirun exec`.

        Returns:
            Its pid: it is a child of this process, to be waited for with os.waitpid.

        Raises:
            ContainerNotFound: there is none of this id.
            WrongStatus: it has stopped, or is paused.
            SpecError: `process` breaks a rule.
            SetupError: the kernel refused a step; nothing is left behind.
        """
        from ocirun.container.exec import begin, container_process
        from ocirun.container.options import ExecOptions
        from ocirun.spec.load import check_process

        store = Store(self.root)
        if isinstance(process, dict):
            asked = {**process}
        else:
            own = container_process(store, self.id)
            asked = {**own, "args": list(process), "terminal": False}
        options = ExecOptions(
            console_socket=_absolute(console_socket),
            pidfd_socket=_absolute(pidfd_socket),
            pid_file=_absolute(pid_file),
            detach=True,
            preserve_fds=preserve_fds,
            cgroups=cgroups,
            ignore_paused=ignore_paused,
            command=find_command(),
        )
        joining = begin(store, self.id, check_process(asked, "process"), options)
        joining.close()
        return joining.pid

    def update(
        self, resources: Resources, *, l3_cache_schema: str = "", mem_bw_schema: str = ""
    ) -> None:
        """Change the limits that `resources` has, and leave the others.

        `resources` is as linux.resources of config.json; its device rules have no effect. The two
        schemas are for a container with linux.intelRdt.

        Raises:
            ContainerNotFound: there is none of this id.
            WrongStatus: it has stopped.
            SpecError: `resources` breaks a rule.
            SetupError: the kernel refused a value; those before it are taken back.
        """
        from copy import deepcopy

        from ocirun.container.update import schemas_of, update
        from ocirun.spec.load import check_resources

        # A copy: what is null is taken out.
        document = check_resources(deepcopy(resources))
        schemas = schemas_of(l3_cache_schema, mem_bw_schema)
        update(Store(self.root), self.id, document, schemas)

    def kill(self, signal: int | str = "TERM", *, everyone: bool = False) -> None:
        """Send a signal, by number or by name with or without SIG, to the container's init.

        `everyone`: to each of its processes.

        Raises:
            UsageError: no signal has this name.
            WrongStatus: the container is not running.
        """
        number = signal if isinstance(signal, int) else signal_number(signal)
        kill_container(Store(self.root), self.id, number, everyone)

    def delete(self, *, force: bool = False) -> list[OcirunError]:
        """Delete the container and all that was made for it; `force` kills it first.

        Returns:
            What failed of its poststop hooks, and what of a damaged record could not be read; the
            container is gone nevertheless.

        Raises:
            WrongStatus: it still runs, and `force` was not given.
        """
        return delete_container(Store(self.root), self.id, force)

    def state(self) -> dict[str, Any]:
        """Return the container's state as `ocirun state` prints it."""
        return state_of(Store(self.root), self.id)

    def pause(self) -> None:
        """Stop all processes of the container where they are.

        Raises:
            WrongStatus: it is neither created nor running.
        """
        from ocirun.container.pause import pause

        pause(Store(self.root), self.id)

    def resume(self) -> None:
        """Let the processes of the paused container go on.

        Raises:
            WrongStatus: it is not paused.
        """
        from ocirun.container.pause import resume

        resume(Store(self.root), self.id)

    def processes(self) -> list[int]:
        """List the pids of the container's processes as the host sees them, sorted.

        Raises:
            ContainerNotFound: there is none of this id.
        """
        from ocirun.container.pause import processes

        return processes(Store(self.root), self.id)

    def stats(self) -> dict[str, Any]:
        """Return what the container has used; docs/stats.md tells each key.

        The keys are those of `ocirun events`, and all of them are there: 0, [], {} or None stand
        for what this host does not count.

        Raises:
            WrongStatus: the container has stopped.
        """
        from ocirun.container.stats import stats_of

        return stats_of(Store(self.root), self.id)

    def events(self, interval: float = 5.0) -> Iterator[dict[str, Any]]:
        """Follow the container until it stops, as `ocirun events` does.

        Gives `{"type": "stats", "id": …, "data": …}` every `interval` seconds, with the data of
        `stats`, and `{"type": "oom", "id": …}` each time its memory ran out. It waits in between,
        for as long as the container lives; closing the generator ends it.

        Raises:
            WrongStatus: the container has stopped already.
            UsageError: the interval is not positive.
        """
        from ocirun.container.events import events

        return events(Store(self.root), self.id, int(interval * 1_000_000_000))


def _absolute(path: str | None) -> str | None:
    return os.path.abspath(path) if path else None
