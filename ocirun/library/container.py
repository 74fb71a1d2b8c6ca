"""`ocirun.Container`: a container, created by `create` or `run`, or looked up by its id."""

from __future__ import annotations

import os

from ocirun.container.create import create as create_container
from ocirun.container.delete import delete as delete_container
from ocirun.container.kill import kill as kill_container
from ocirun.container.options import CreateOptions
from ocirun.container.start import start as start_container
from ocirun.container.store import Store, default_root
from ocirun.container.written import Written
from ocirun.errors import WrongStatus
from ocirun.library import children, making
from ocirun.library.child import Child
from ocirun.library.known import KnownContainer
from ocirun.library.process import ExecProcess, Process, check_args, check_timeout, signal_of
from ocirun.library.streams import PIPE, Streams
from ocirun.process.command import find_command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from builtins import list as List  # noqa: N812  # `list` is a method here
    from collections.abc import Mapping, Sequence
    from typing import Any, Self

    from ocirun.errors import OcirunError
    from ocirun.library.making import Configuration
    from ocirun.library.streams import Stream


class Container(KnownContainer, Process):
    """A container; the methods of Process (`wait`, `poll`, `communicate`) act on its init.

    `root` is the state root, by default the one the command line uses. Objects with the same root
    and id are equal and refer to the same container; its state is read on each call. Leaving a
    `with` block deletes the container, even if it runs, and closes its files.

    >>> spec = Spec(["cat"], rootfs)
    >>> with Container.run(None, spec, stdin=PIPE, stdout=PIPE) as container:
    ...     out, _ = container.communicate(b"hello", timeout=20)
    >>> out, container.returncode
    (b'hello', 0)
    """

    def __init__(self, container_id: str, *, root: str | None = None) -> None:
        super().__init__(container_id, root=root)
        self._container_id = container_id
        self._store = Store(self.root)

    @classmethod
    def create(
        cls,
        container_id: str | None,
        bundle: Configuration,
        *,
        root: str | None = None,
        stdin: Stream = None,
        stdout: Stream = None,
        stderr: Stream = None,
        terminal: bool = False,
        text: bool | None = None,
        encoding: str | None = None,
        errors: str | None = None,
        timeout: float | None = None,
        config: str = "config.json",
        console_socket: str | None = None,
        pidfd_socket: str | None = None,
        pid_file: str | None = None,
        no_pivot: bool = False,
        no_new_keyring: bool = False,
        preserve_fds: int = 0,
        cgroup_manager: str = "cgroupfs",
        notify_socket: str | None = None,
    ) -> Self:
        """Create a container; `start` starts its program.

        `container_id` None generates an id. `bundle` is a bundle directory, a Spec, or a
        config.json as a dict, which needs no file; relative paths in a Spec or a dict are resolved
        against the working directory.

        `stdin`, `stdout` and `stderr` are each None (inherit), PIPE, DEVNULL, or a descriptor or
        file (borrowed); `stderr` may be STDOUT. With `text`, `encoding` or `errors` pipes are in
        text mode, in UTF-8 by default. With `terminal` the program gets a terminal, whose master is
        `.terminal`. `timeout` is the default of `wait` and `communicate`, in seconds.

        The others are the options of `ocirun create`; paths may be relative. `notify_socket` is
        what the command reads from NOTIFY_SOCKET, a path or "@" and an abstract name: the container
        gets its own socket, and `start` with the same value forwards readiness to this one.

        Raises:
            TypeError, ValueError: an argument has a wrong type or value.
            SpecError: config.json breaks a rule, or needs what this host does not support.
            ContainerExists: the id is taken.
            SetupError: the kernel refused a step; nothing is left behind.
            HookError: a hook of the bundle failed; nothing is left behind.
        """
        container = cls(making.check_container_id(container_id), root=root)
        container.timeout = check_timeout(timeout)
        making.check_options(cgroup_manager, preserve_fds)
        options = CreateOptions(
            config=config,
            # Resolved now: another thread may change the working directory meanwhile.
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
        making.set_source(options, bundle, terminal=terminal)
        container.args = making.arguments_of(bundle, options)
        streams = Streams(
            (stdin, stdout, stderr),
            terminal=terminal,
            elsewhere=console_socket is not None,
            encoding=making.encoding_of(text, encoding, errors),
            errors=errors,
        )
        try:
            container._create(options, streams)
        except BaseException:
            streams.close()
            raise
        return container

    def _create(self, options: CreateOptions, streams: Streams) -> None:
        record = create_container(self._store, self.id, options, streams.given)
        try:
            pidfd, record.init_pidfd = record.init_pidfd, -1
            self._child = Child(record.init_process_pid, pidfd, start=record.init_process_start)
            self._store.written = Written(record)
            children.add(self._child, (self._store, self.id))
            self._streams = streams
            streams.connected()
        except BaseException:
            self.delete(force=True)
            raise
        finally:
            record.close()

    @classmethod
    def run(cls, container_id: str | None, bundle: Configuration, **options: Any) -> Self:  # noqa: ANN401
        """Create a container and start it; does not wait for it to end.

        The arguments are those of `create`. A container that cannot be started is deleted.

        Raises:
            OcirunError: as `create` and `start`.
        """
        container = cls.create(container_id, bundle, **options)
        try:
            container.start()
        except BaseException:
            container.delete(force=True)
            container.close()
            raise
        return container

    @classmethod
    def restore(
        cls,
        container_id: str | None,
        bundle: str | os.PathLike[str],
        image_path: str | os.PathLike[str],
        *,
        root: str | None = None,
        stdin: Stream = None,
        stdout: Stream = None,
        stderr: Stream = None,
        timeout: float | None = None,
        **flags: Any,  # noqa: ANN401
    ) -> Self:
        """Restore a container from a checkpoint; it runs when this returns.

        `bundle` is a bundle directory. `stdin`, `stdout` and `stderr` take effect where they were
        pipes at the checkpoint. `flags` are those of `ocirun restore`, in the form that
        `checkpoint` takes. Init is not a child of this program, so its exit status is known only as
        for a container that was looked up by id.

        Raises:
            TypeError, ValueError: an argument has a wrong type or value.
            SetupError: the restore failed; nothing is left behind.
        """
        from ocirun.library.command import call

        container = cls(making.check_container_id(container_id), root=root)
        container.timeout = check_timeout(timeout)
        streams = Streams((stdin, stdout, stderr))
        flags["bundle"] = os.path.abspath(bundle)
        flags["image_path"] = os.path.abspath(image_path)
        try:
            given = streams.given.fds if streams.given else ()
            call(container.root, container.id, ["restore", "--detach"], flags, fds=given)
            container._streams = streams
            streams.connected()
        except BaseException:
            streams.close()
            raise
        return container

    @classmethod
    def list(cls, *, root: str | None = None) -> List[Self]:
        """Return the containers of a state root, sorted by id, those being created included."""
        children.sweep()
        store = Store(os.path.abspath(root) if root else default_root())
        return [cls(container_id, root=store.root) for container_id in store.ids()]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
        self.delete(force=True)

    def start(self, *, notify_socket: str | None = None) -> None:
        """Start the program of the created container.

        With `notify_socket`, wait until the program reports readiness or ends.

        Raises:
            ContainerNotFound: there is none of this id.
            WrongStatus: it was started already.
        """
        start_container(self._store, self.id, notify_socket)

    def exec(
        self,
        process: Mapping[str, Any] | Sequence[str],
        *,
        user: int | str | tuple[int, int] | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        stdin: Stream = None,
        stdout: Stream = None,
        stderr: Stream = None,
        capture_output: bool = False,
        terminal: bool = False,
        text: bool | None = None,
        encoding: str | None = None,
        errors: str | None = None,
        timeout: float | None = None,
        console_socket: str | None = None,
        pidfd_socket: str | None = None,
        pid_file: str | None = None,
        preserve_fds: int = 0,
        cgroups: tuple[str, ...] = (),
        ignore_paused: bool = False,
    ) -> ExecProcess:
        """Run another process in the container; does not wait for it to end.

        `process` is an argument list, run with the settings of the container's own program but
        without a terminal; or a `process` object of the runtime-spec as a dict, whose missing
        members come from the container (as with `ocirun exec --process`). `user` is a uid,
        "uid:gid" or a pair of both; `env` is added to the environment. `capture_output` means
        stdout=PIPE, stderr=PIPE. The other arguments are those of `create`; the last six are the
        options of `ocirun exec`.

        >>> with Container.run(None, Spec(["sleep", "60"], rootfs)) as container:
        ...     process = container.exec(["id", "-u"], user=1000, stdout=PIPE)
        ...     print(process.communicate(timeout=20)[0].split(), process.returncode)
        [b'1000'] 0

        Raises:
            TypeError, ValueError: an argument is not what it should be.
            ContainerNotFound: there is none of this id.
            WrongStatus: the container has stopped, or is paused.
            SpecError: `process` breaks a rule.
            SetupError: the kernel refused a step; nothing is left behind.
        """
        from ocirun.container.exec import begin, container_process
        from ocirun.container.options import ExecOptions
        from ocirun.spec.load import check_process

        check_timeout(timeout)
        making.check_options("cgroupfs", preserve_fds)
        if capture_output:
            if stdout is not None or stderr is not None:
                raise ValueError("stdout and stderr may not be used with capture_output")
            stdout = stderr = PIPE
        store = self._store
        own = None
        if not isinstance(process, dict):
            process = check_args(process)
            own = container_process(store, self.id)
        asked = making.process_of(process, own, user=user, env=env, cwd=cwd, terminal=terminal)
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
        checked = check_process(asked, "process")
        streams = Streams(
            (stdin, stdout, stderr),
            terminal=terminal,
            elsewhere=console_socket is not None,
            encoding=making.encoding_of(text, encoding, errors),
            errors=errors,
        )
        try:
            parent = begin(store, self.id, checked, options, streams.given)
            streams.connected()
        except BaseException:
            streams.close()
            raise
        child = Child(parent.pid, parent.take_pidfd())
        return ExecProcess(self.id, checked["args"], child, streams, timeout)

    def kill(self, signal: int | str = "KILL", *, everyone: bool = False) -> None:
        """Send a signal, by number or by name with or without SIG, to the container's init.

        `everyone`: to all its processes. A stopped container is no error. An init that is process 1
        ignores SIGTERM unless it handles it (pid_namespaces(7)).

        Raises:
            ValueError: no signal has this name. ContainerNotFound: there is none of this id.
        """
        number = signal_of(signal)
        try:
            kill_container(self._store, self.id, number, everyone)
        except WrongStatus:
            return

    def send_signal(self, signal: int | str) -> None:
        """Send a signal to the container's init; as `kill`."""
        self.kill(signal)

    def terminate(self) -> None:
        """Send SIGTERM to the container's init; as `kill`."""
        self.kill(15)

    def delete(self, *, force: bool = False) -> List[OcirunError]:
        """Delete the container and everything created for it; `force` kills it first.

        With `force` a missing container is no error. Init is reaped.

        Returns:
            The errors of poststop hooks, and of a damaged record; the container is deleted anyway.

        Raises:
            WrongStatus: the container still runs, and `force` was not given.
        """
        child = self._child or children.find((self.root, self.id))
        failures = delete_container(self._store, self.id, force)
        if child is not None:
            child.poll()
            if not child.has_ended:  # the deleted container was another one of this id
                return failures
            children.forget(child)
        return failures

    def _find_child(self) -> Child:
        """Return the container's init: our child, or one looked up in the record."""
        if self._child is None:
            self._child = children.find((self.root, self.id))
        if self._child is None:
            from ocirun.library.found import find_init

            self._child = find_init(self._store, self.id)
        return self._child

    def _result(self, child: Child) -> int | None:
        if child.lost and child.returncode is None:
            from ocirun.library.found import look_up

            look_up(self._store, self.id, child)
        return super()._result(child)


def _absolute(path: str | None) -> str | None:
    return os.path.abspath(path) if path else None
