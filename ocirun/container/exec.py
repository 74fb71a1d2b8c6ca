"""Run one more process in a running container.

Source: docs/runc-compat/cli.md#exec, docs/runc-compat/init.md#exec.
"""

from __future__ import annotations

import os
from errno import ENOMEM, ESRCH

from ocirun.container.inherited_fds import config_with
from ocirun.container.init_process import goes_away, is_there, open_init
from ocirun.container.record import read_config
from ocirun.container.request import count_listen_fds, find_kept_fds, names_of_listen_fds
from ocirun.container.status import (
    CREATING,
    PAUSED,
    RUNNING,
    STOPPED,
    status_of,
)
from ocirun.container.subcgroup import cgroup_below, cgroup_of_init
from ocirun.container.syscalls import compile_filter, send_listener
from ocirun.container.undo import Undo
from ocirun.errors import InitDied, SetupError, WrongStatus, doing, write_warnings
from ocirun.process.exec_parent import ExecParent
from ocirun.process.pidfile import check_pid_file, write_pid_file
from ocirun.process.plan import plan_join
from ocirun.process.request import Request
from ocirun.process.sockets import connect_unix, send_fd
from ocirun.process.stdio import open_stdio
from ocirun.security.executable import require_seal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirun.cgroups.cgroup import Cgroup
    from ocirun.container.record import Record
    from ocirun.container.store import Store
    from ocirun.process.channel import Tell
    from ocirun.process.foreground import Foreground
    from ocirun.process.given_stdio import GivenStdio
    from ocirun.spec.types import Config, Process


class ExecOptions:
    """The flags of exec that are not about the process itself; paths as in CreateOptions.

    `cgroups` are the words of `--cgroup` (see cgroup_below), none for the container's own cgroup.
    `ignore_paused` allows a paused container. `command` as in CreateOptions.
    """

    __slots__ = (
        "cgroups",
        "command",
        "console_socket",
        "detach",
        "ignore_paused",
        "pid_file",
        "pidfd_socket",
        "preserve_fds",
        "tell",
    )

    def __init__(
        self,
        *,
        console_socket: str | None = None,
        pidfd_socket: str | None = None,
        pid_file: str | None = None,
        detach: bool = False,
        preserve_fds: int = 0,
        cgroups: tuple[str, ...] = (),
        ignore_paused: bool = False,
        tell: Tell | None = None,
        command: str | None = None,
    ) -> None:
        self.console_socket = console_socket
        self.pidfd_socket = pidfd_socket
        self.pid_file = pid_file
        self.detach = detach
        self.preserve_fds = preserve_fds
        self.cgroups = cgroups
        self.ignore_paused = ignore_paused
        self.tell = tell
        self.command = command


def container_process(store: Store, container_id: str) -> Process:
    """Give the container's own process as it was at create: what flags of exec start from."""
    with store.load(container_id) as record:
        return read_config(record.directory)["process"]


def execute(store: Store, container_id: str, process: Process, options: ExecOptions) -> int:
    """Run `process` in the container; wait for its end unless detached.

    Returns:
        Its exit status, 128 plus the signal that killed it; 0 when detached.

    Raises:
        OcirunError: as `begin`.
    """
    if options.detach:
        begin(store, container_id, process, options).close()
        return 0
    from ocirun.process.foreground import Foreground
    from ocirun.process.wait import block_signals, wait_for

    block_signals()
    foreground = Foreground()
    try:
        joining = begin(store, container_id, process, options, foreground)
        write_warnings()
        try:
            status = wait_for(joining.pid, joining.pidfd, foreground)
        finally:
            joining.close()
        foreground.finish()
    finally:
        foreground.restore()
    return status


def begin(
    store: Store,
    container_id: str,
    process: Process,
    options: ExecOptions,
    foreground: Foreground | GivenStdio | None = None,
) -> ExecParent:
    """Bring `process` into the container and let it become its program.

    Returns:
        The conversation, which is over; its `pid` is a child of ours. The caller closes it.

    Raises:
        WrongStatus: the container is not there to be entered. SpecError, UsageError: what is asked
            for cannot be. SetupError: a step failed. Nothing is left behind in any case.
    """
    if options.command is None:
        require_seal()
    with store.load(container_id) as record:
        return _begin(store, record, process, options, foreground)


def _begin(
    store: Store,
    record: Record,
    process: Process,
    options: ExecOptions,
    foreground: Foreground | GivenStdio | None,
) -> ExecParent:
    _check_status(record, options)
    check_pid_file(options.pid_file)
    config = config_with(read_config(record.directory), process)
    request = _make_request(config, record, options)
    request.seccomp = compile_filter(config, store, options.tell)
    with Undo() as undo:
        pidfd_socket = connect_unix(options.pidfd_socket) if options.pidfd_socket else -1
        if pidfd_socket >= 0:
            undo.add("closing the pidfd socket", lambda: os.close(pidfd_socket))
        joining = ExecParent(config, request, options.tell)
        undo.add("closing its pidfd", joining.close)
        undo.add("killing the process", joining.abandon)
        try:
            _join(joining, record, request, options, foreground)
            if foreground:
                # Order: before the program runs, which may ask for its terminal's size at once.
                foreground.connect()
            joining.resume()
        except (SetupError, FileNotFoundError, ProcessLookupError) as error:
            # Whatever it looked like: with its init every process of a container dies, and
            # nothing can be cloned into its pid namespace any more.
            joining.abandon()
            if not is_there(record) or (_may_be_its_end(error) and goes_away(record)):
                raise _stopped(record) from error
            raise
        _publish(joining, options, pidfd_socket)
        undo.forget()
        if pidfd_socket >= 0:
            os.close(pidfd_socket)
    return joining


def _may_be_its_end(error: BaseException) -> bool:
    """Return whether a container that is just dying may be behind `error`.

    Kernel: the namespaces of a process that ends cannot be joined (ESRCH), nothing can be cloned
    into a pid namespace whose init is dying (ENOMEM), and what was there already is killed.
    """
    if isinstance(error, SetupError) and not isinstance(error, InitDied):
        return error.errno in (ENOMEM, ESRCH)
    return True


def _check_status(record: Record, options: ExecOptions) -> None:
    status = status_of(record)
    if status == CREATING:
        # Security: before its init has entered the root, the host's files are still in sight.
        raise WrongStatus(record.id, status, "cannot exec in a container that is being created")
    if status == STOPPED:
        raise _stopped(record)
    if status == PAUSED and not options.ignore_paused:
        raise WrongStatus(
            record.id,
            status,
            "cannot exec in a paused container (use --ignore-paused to override)",
        )


def _stopped(record: Record) -> WrongStatus:
    return WrongStatus(record.id, STOPPED, "cannot exec in a stopped container")


def _make_request(config: Config, record: Record, options: ExecOptions) -> Request:
    request = Request(config)
    request.joins = True
    request.container_id = record.id
    request.bundle = record.bundle
    request.rootfs = record.rootfs
    request.no_new_keyring = record.no_new_keyring
    request.keyring = record.keyring or f"_ses.{record.id}"  # of older versions, and restored
    request.listen_fds = count_listen_fds()
    request.listen_names = names_of_listen_fds(request.listen_fds)
    request.kept_fds = find_kept_fds(
        request.listen_fds, options.preserve_fds, library=options.command is not None
    )
    return request


def _join(
    joining: ExecParent,
    record: Record,
    request: Request,
    options: ExecOptions,
    foreground: Foreground | GivenStdio | None,
) -> None:
    """Bring the process into the container, up to its gate."""
    config = joining.config
    cgroup = cgroup_below(record, options.cgroups)
    ours: list[int] = []
    try:
        stdio = open_stdio(config, request, options.console_socket, foreground)
        if not foreground:
            ours += stdio
        try:
            init_pidfd = open_init(record)
        except ProcessLookupError:
            raise _stopped(record) from None
        joining.look_at_init(init_pidfd, record.init_process_pid)
        _make_plan(config, request, options)
        join_fds = cgroup.open_join_fds()
        ours += join_fds
        request.cgroup_join_fds = len(join_fds)
        cgroup_fd = cgroup.cgroup_fd()
        if cgroup_fd is not None:
            ours.append(cgroup_fd)
        joining.spawn(options.command, cgroup_fd)
        if cgroup_fd is not None and not joining.born_in_cgroup:
            _move(joining.pid, cgroup, record, options)
        if record.intel_rdt_path:
            from ocirun.resctrl.group import join_groups

            join_groups([record.intel_rdt_path, record.intel_rdt_monitoring], joining.pid)
        joining.send_config([*stdio, *join_fds])
        state = record.state(RUNNING)
        joining.wait_for_gate(lambda fd: send_listener(config, state, joining.pid, fd))
    finally:
        for fd in ours:
            os.close(fd)


def _make_plan(config: Config, request: Request, options: ExecOptions) -> None:
    """Make the plan here as well: that loads what a forked child will need."""
    plan = plan_join(config, request)
    if options.tell:
        from ocirun.process.ignored import ignored_members

        for line in ignored_members(config):
            options.tell(f"ignoring {line}")
        for line in plan.describe():
            options.tell(f"plan: {line}")


def _move(host_pid: int, cgroup: Cgroup, record: Record, options: ExecOptions) -> None:
    """Move the process where it could not be born; where it may not be, to where init is."""
    try:
        cgroup.join(host_pid)
    except SetupError:
        deeper = None if options.cgroups else cgroup_of_init(record)
        if deeper is None:
            raise
        deeper.join(host_pid)


def _publish(joining: ExecParent, options: ExecOptions, pidfd_socket: int) -> None:
    """Hand out what callers take for success; `pidfd_socket` (borrowed) is -1 for none."""
    if pidfd_socket >= 0:
        with doing(f"sending the pidfd to {options.pidfd_socket}"):
            send_fd(pidfd_socket, joining.pidfd, "setns")
    if options.pid_file:
        write_pid_file(options.pid_file, joining.pid)
