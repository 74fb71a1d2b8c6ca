"""Run one more process in a running container.

Source: docs/runc-compat/cli.md#exec, docs/runc-compat/init.md#exec.
"""

from __future__ import annotations

from errno import ENOMEM, ESRCH

from ocirun.container.inherited_process import config_with
from ocirun.container.init_process import goes_away, is_there, open_init
from ocirun.container.new_process import NewProcess
from ocirun.container.record import read_config
from ocirun.container.request import make_exec_request
from ocirun.container.status import CREATING, PAUSED, RUNNING, STOPPED, status_of
from ocirun.container.subcgroup import cgroup_below, cgroup_of_init
from ocirun.container.syscalls import compile_filter
from ocirun.errors import InitDied, SetupError, WrongStatus, write_warnings
from ocirun.process.exec_parent import ExecParent
from ocirun.process.plan import plan_join
from ocirun.security.executable import require_seal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirun.container.options import ExecOptions
    from ocirun.container.record import Record
    from ocirun.container.store import Store
    from ocirun.process.foreground import Foreground
    from ocirun.process.given_stdio import GivenStdio
    from ocirun.spec.types import Process


def container_process(store: Store, container_id: str) -> Process:
    """Return the container's own process as it was at create: what flags of exec start from."""
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

    with Foreground() as foreground:
        parent = begin(store, container_id, process, options, foreground)
        write_warnings()
        try:
            return foreground.wait_for(parent.pid, parent.pidfd)
        except SetupError:
            parent.abandon()  # nobody would learn of its end
            raise
        finally:
            parent.close()


def begin(
    store: Store,
    container_id: str,
    process: Process,
    options: ExecOptions,
    foreground: Foreground | GivenStdio | None = None,
) -> ExecParent:
    """Start `process` in the container; return after its execve.

    Returns:
        The conversation, which is over; its `pid` is a child of ours. The caller closes it.

    Raises:
        WrongStatus: the container is not there to be entered. SpecError, UsageError: what is asked
            for cannot be. SetupError: a step failed. Nothing is left behind in any case.
    """
    if options.may_fork:
        require_seal()
    with store.load(container_id) as record:
        check_status(record, options)
        if record.engine:
            from ocirun.container.engine_exec import execution_of  # cold

            kind = execution_of(record)
        else:
            kind = Execution
        execution = kind(store, record, process, options, foreground)
        execution.bring()
        return execution.parent


class Execution(NewProcess):
    """One exec in progress."""

    pidfd_payload = "setns"
    status = RUNNING
    options: ExecOptions  # type: ignore[mutable-override]  # set once, by __init__
    parent: ExecParent  # type: ignore[mutable-override]  # set once, by bring_in

    def __init__(
        self,
        store: Store,
        record: Record,
        process: Process,
        options: ExecOptions,
        foreground: Foreground | GivenStdio | None,
    ) -> None:
        super().__init__(options, foreground)
        self.store = store
        self.record = record
        self.process = process

    def prepare(self) -> None:
        """Complete the process from the container's own, and open what is needed for it."""
        self.config = config_with(read_config(self.record.directory), self.process)
        self.request = make_exec_request(self.config, self.record, self.options)
        self.request.seccomp = compile_filter(self.config, self.store, self.options.tell)
        self.open_callers_ends()

    def bring_in(self) -> None:
        """Create the process in the container, and wait for its execve."""
        self.parent = ExecParent(self.config, self.request, self.options.tell)
        self.register_parent()
        try:
            self._join()
            if self.foreground:
                # Order: before the program runs, which may ask for its terminal's size at once.
                self.foreground.connect()
            self.parent.resume()
        except (SetupError, FileNotFoundError, ProcessLookupError) as error:
            # Whatever it looked like: with its init every process of a container dies, and
            # nothing can be cloned into its pid namespace any more.
            self.parent.abandon()
            if not is_there(self.record) or (_may_be_its_end(error) and goes_away(self.record)):
                raise _stopped(self.record) from error
            raise

    def _join(self) -> None:
        """Create the process in the container, and wait until it is at its gate."""
        record = self.record
        self.cgroup = cgroup_below(record, self.options.cgroups)
        try:
            init_pidfd = open_init(record)
        except ProcessLookupError:
            raise _stopped(record) from None
        self.parent.look_at_init(init_pidfd, record.init_process_pid)
        # This also loads what a forked child will need.
        self.parent.plan = plan_join(self.config, self.request)
        self.tell_plan(self.parent.plan)
        self.spawn([])
        self.parent.wait_for_gate(self.take_listener)

    def move_into_cgroup(self) -> None:
        """Move the process where it could not be born; where it may not be, to where init is."""
        try:
            super().move_into_cgroup()
        except SetupError:
            deeper = None if self.options.cgroups else cgroup_of_init(self.record)
            if deeper is None:
                raise
            deeper.join(self.parent.pid)

    def join_resctrl(self) -> None:
        """Move the process into the container's resctrl groups."""
        if self.record.intel_rdt_path:
            from ocirun.resctrl.group import join_groups

            paths = [self.record.intel_rdt_path, self.record.intel_rdt_monitoring]
            join_groups(paths, self.parent.pid)


def _may_be_its_end(error: BaseException) -> bool:
    """Return whether a container that is just dying may be behind `error`.

    Kernel: the namespaces of a process that ends cannot be joined (ESRCH), nothing can be cloned
    into a pid namespace whose init is dying (ENOMEM), and what was there already is killed.
    """
    if isinstance(error, SetupError) and not isinstance(error, InitDied):
        return error.errno in (ENOMEM, ESRCH)
    return True


def check_status(record: Record, options: ExecOptions) -> None:
    """Refuse a container that cannot be entered.

    Raises:
        WrongStatus: it is being made, has stopped, or is paused and that matters to `options`.
    """
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
