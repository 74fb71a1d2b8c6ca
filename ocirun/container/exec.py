"""Run one more process in a running container.

Source: contract §1.6 and §3.4.
"""

from __future__ import annotations

import os

from ocirun.cgroups.choose import known_cgroup
from ocirun.container.record import read_config
from ocirun.container.request import check_kept_fds, count_listen_fds
from ocirun.container.status import PAUSED, RUNNING, STOPPED, cgroup_of, status_of
from ocirun.container.syscalls import compile_filter, send_listener
from ocirun.container.undo import Undo
from ocirun.errors import ContainerError, Problem, SetupError, SpecError, WrongStatus, doing
from ocirun.kernel.lookup import start_time
from ocirun.process.conversation import write_pid_file
from ocirun.process.identity import cpus_of
from ocirun.process.joining import Joining
from ocirun.process.plan import plan_join
from ocirun.process.request import Request
from ocirun.process.sockets import connect_unix, send_fd
from ocirun.security.executable import require_seal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from ocirun.cgroups.cgroup import Cgroup
    from ocirun.container.record import Record
    from ocirun.container.store import Store
    from ocirun.process.channel import Tell
    from ocirun.process.foreground import Foreground
    from ocirun.spec.shapes import Config, Process

# What a process.json may leave out and then has from the container's own process.
INHERITED: Final = (
    "apparmorProfile",
    "capabilities",
    "execCPUAffinity",
    "ioPriority",
    "noNewPrivileges",
    "rlimits",
    "scheduler",
    "selinuxLabel",
)


class ExecOptions:
    """The flags of exec that are not about the process itself; paths as in CreateOptions.

    `cgroup` is a path below the container's cgroup, "" for that itself; on v1 it may be given for
    single controllers, "cpu,memory:path". `ignore_paused` allows a paused container.
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
    record = store.load(container_id)
    return read_config(store.directory(record.id))["process"]


def execute(store: Store, container_id: str, process: Process, options: ExecOptions) -> int:
    """Run `process` in the container; wait for its end unless detached.

    Returns:
        Its exit status, 128 plus the signal that killed it; 0 when detached.

    Raises:
        WrongStatus: the container is not there to be entered. SetupError, InitError: a step
            failed; nothing is left behind.
    """
    if options.command is None:
        require_seal()
    record = store.load(container_id)
    _check_status(store, record, options)
    config = _config_with(read_config(store.directory(record.id)), process)
    request = _make_request(config, record, options)
    request.seccomp = compile_filter(config, store, options.tell)
    foreground = _foreground(options)
    with Undo() as undo:
        joining = Joining(config, request, options.tell)
        undo.add("killing the process", joining.abandon)
        _join(joining, record, request, options, foreground)
        joining.resume()
        _publish(joining, options)
        undo.forget()
    if not foreground:
        joining.close()
        return 0
    from ocirun.process.wait import wait_for

    try:
        foreground.connect()
        status = wait_for(joining.pid, joining.pidfd, foreground)
        foreground.finish()
    finally:
        joining.close()
        foreground.restore()
    return status


def _check_status(store: Store, record: Record, options: ExecOptions) -> None:
    status = status_of(store, record)
    if status == STOPPED or not record.init_process_pid:
        raise WrongStatus(record.id, status, "cannot exec in a stopped container")
    if status == PAUSED and not options.ignore_paused:
        raise WrongStatus(
            record.id,
            status,
            "cannot exec in a paused container (use --ignore-paused to override)",
        )


def _config_with(config: Config, process: Process) -> Config:
    """Put `process` in the place of the container's own, completed with what it inherits."""
    own = config["process"]
    joining: Process = {**process}
    for name in INHERITED:
        if name not in joining and name in own:
            joining[name] = own[name]
    # The umask is always the container's (as runc has it).
    joining["user"] = {**joining.get("user", {})}
    joining["user"].pop("umask", None)
    if "umask" in own.get("user", {}):
        joining["user"]["umask"] = own["user"]["umask"]
    return {**config, "process": joining}


def _make_request(config: Config, record: Record, options: ExecOptions) -> Request:
    request = Request(config)
    request.joins = True
    request.container_id = record.id
    request.bundle = record.bundle
    request.rootfs = record.rootfs
    request.no_new_keyring = record.no_new_keyring
    request.listen_fds = count_listen_fds()
    request.kept_fds = request.listen_fds + options.preserve_fds
    check_kept_fds(request.listen_fds, request.kept_fds, library=options.command is not None)
    if request.terminal and options.detach and not options.console_socket:
        raise ContainerError(
            record.id, "cannot allocate tty if ocirun will detach without setting console socket"
        )
    return request


def _foreground(options: ExecOptions) -> Foreground | None:
    if options.detach:
        return None
    from ocirun.process.foreground import Foreground
    from ocirun.process.wait import block_signals

    block_signals()
    return Foreground()


def _join(
    joining: Joining,
    record: Record,
    request: Request,
    options: ExecOptions,
    foreground: Foreground | None,
) -> None:
    """Bring the process into the container, up to its gate."""
    config = joining.config
    plan = plan_join(config, request)  # loads what a forked joiner will need
    if options.tell:
        from ocirun.process.ignored import ignored_members

        for line in ignored_members(config):
            options.tell(f"ignoring {line}")
        for line in plan.describe():
            options.tell(f"plan: {line}")
    fds = _stdio(config, request, options, foreground)
    given = list(fds) if not foreground else []
    cgroup = _cgroup(record, options.cgroups)
    init_pidfd = _open_init(record)
    given.append(init_pidfd)
    initial = (config["process"].get("execCPUAffinity") or {}).get("initial")
    if initial:
        # Order: before the cgroup is joined, whose cpuset may leave nothing of it.
        os.sched_setaffinity(0, cpus_of(initial))
    try:
        doors = cgroup.open_doors()
        given += doors
        request.cgroup_doors = len(doors)
        cgroup_fd = cgroup.cgroup_fd()
        if cgroup_fd is not None:
            given.append(cgroup_fd)
        target = (init_pidfd, record.init_process_pid)
        joining.spawn(options.command, target, cgroup_fd, [*fds, *doors])
        if cgroup_fd is not None and not joining.born_in_cgroup:
            cgroup.join(joining.pid)
        if record.intel_rdt_path:
            from ocirun.cgroups.resctrl import join_groups

            join_groups([record.intel_rdt_path, record.intel_rdt_monitoring], joining.pid)
        state = record.state(RUNNING)
        joining.wait_for_gate(lambda fd: send_listener(config, state, joining.pid, fd))
    finally:
        for fd in given:
            os.close(fd)


def _stdio(
    config: Config, request: Request, options: ExecOptions, foreground: Foreground | None
) -> list[int]:
    """Open what the process gets for its stdio, as Request.stdio_fds counts it."""
    fds: list[int] = []
    if options.console_socket and request.terminal:
        fds = [connect_unix(options.console_socket)]
    elif foreground:
        foreground.prepare(config, request)
        fds = foreground.init_fds
    request.stdio_fds = len(fds)
    return fds


def _open_init(record: Record) -> int:
    """Open the pidfd of the container's init; its start time says that it is still the same.

    Raises:
        WrongStatus: it is gone.
    """
    try:
        pidfd = os.pidfd_open(record.init_process_pid)
    except ProcessLookupError:
        raise WrongStatus(record.id, STOPPED, "cannot exec in a stopped container") from None
    if start_time(record.init_process_pid) != record.init_process_start:
        os.close(pidfd)
        raise WrongStatus(record.id, STOPPED, "cannot exec in a stopped container")
    return pidfd


def _cgroup(record: Record, below: tuple[str, ...]) -> Cgroup:
    """Give the container's cgroup, or the one below it that `--cgroup` names.

    Raises:
        SpecError: the path leaves the container's cgroup, or names a controller there is not.
    """
    if not below:
        return cgroup_of(record)
    paths = dict(record.cgroup_paths)
    for word in below:
        controllers, colon, path = word.rpartition(":")
        if ".." in path.split("/"):
            raise SpecError([Problem("", f"{path!r} leaves the container's cgroup")], "--cgroup")
        names = controllers.split(",") if colon else list(record.cgroup_paths)
        for name in names:
            if name not in record.cgroup_paths:
                raise SpecError([Problem("", f"unknown controller {name!r}")], "--cgroup")
            top = record.cgroup_paths[name]
            paths[name] = f"{top}/{path.strip('/')}" if path.strip("/") else top
            if not os.path.isdir(paths[name]):
                raise SetupError(f"cgroup {paths[name]} does not exist")
    return known_cgroup(paths, record.cgroup_manager)


def _publish(joining: Joining, options: ExecOptions) -> None:
    """Hand out what callers take for success."""
    if options.pidfd_socket:
        socket_fd = connect_unix(options.pidfd_socket)
        with doing(f"sending the pidfd to {options.pidfd_socket}"):
            send_fd(socket_fd, joining.pidfd, "setns")
        os.close(socket_fd)
    if options.pid_file:
        write_pid_file(options.pid_file, joining.pid)
