"""Create and start in one, and stay until the container ends, unless detached.

Source: docs/runc-compat/cli.md#create-and-run, docs/runc-compat/protocols.md#foreground-mode.
"""

from __future__ import annotations

import os

from ocirun.container.create import create
from ocirun.container.delete import destroy
from ocirun.container.init_process import open_init
from ocirun.container.kill import kill_and_wait
from ocirun.container.start import pass_gate
from ocirun.errors import ContainerError, OcirunError, SetupError, doing, write_warnings
from ocirun.kernel.prctl import set_child_subreaper
from ocirun.process.foreground import Foreground

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirun.container.options import CreateOptions
    from ocirun.container.record import Record
    from ocirun.container.sd_notify import Notify
    from ocirun.container.store import Store


def run(
    store: Store,
    container_id: str,
    options: CreateOptions,
    *,
    detach: bool,
    keep: bool,
    subreaper: bool,
) -> tuple[int, list[OcirunError]]:
    """Run a container.

    Detached, it returns once the program runs, and, where a service manager waits, is ready (or
    has ended). Otherwise it forwards signals, waits for the program's end and deletes the
    container, unless `keep`.

    Returns:
        The exit status (128 plus the signal that killed the program; 0 when detached), and what
        failed afterwards: of the deletion, of the poststop hooks, and of what a service manager
        should hear.

    Raises:
        OcirunError: it could not be created or started; nothing is left of it.
    """
    if detach:
        with create(store, container_id, options) as record:
            notify = _start(record, options)
            return 0, _tell(notify, record) if notify else []
    if subreaper:
        set_child_subreaper()
    with Foreground() as foreground, create(store, container_id, options, foreground) as record:
        notify = _start(record, options, foreground)
        if notify:
            # We stay, forward signals and give the exit status: we are what is to be watched.
            notify.relay_meanwhile(record.init_pidfd, os.getpid())
        try:
            if record.engine:
                status = _wait_for_engine(record, foreground, options)
            else:
                status = foreground.wait_for(record.init_process_pid, record.init_pidfd)
        except SetupError as error:
            undo_start(record, error)  # nobody would learn of its end
            raise
        failures = notify.finish() if notify else []
        return status, failures if keep else [*failures, *destroy(record)]


def _start(
    record: Record, options: CreateOptions, foreground: Foreground | None = None
) -> Notify | None:
    """Start the container; return its Notify if a service manager waits for readiness.

    If it cannot be started, nothing of it is left.
    """
    notify = None
    try:
        if options.notify_socket:
            from ocirun.container.sd_notify import open_notify  # cold

            notify = open_notify(record.directory, options.notify_socket)
        if foreground:
            foreground.connect()
        # Hooks of `run` all start in the bundle, as with runc.
        with doing(f"changing to the bundle {record.bundle}"):
            os.chdir(record.bundle)
        pass_gate(record)
        write_warnings()
    except BaseException as error:
        if notify:
            notify.close()
        undo_start(record, error)
        raise
    return notify


def _wait_for_engine(record: Record, foreground: Foreground, options: CreateOptions) -> int:
    """Wait for the end of a container whose init is not our child; return its exit status."""
    from ocirun.engines.engine import engine_of  # cold

    status = foreground.wait_for(record.child_pid, record.init_pidfd)
    engine = engine_of(record)
    engine.tell = options.tell
    return engine.exit_status(record, status)


def undo_start(record: Record, error: BaseException) -> None:
    """Kill and delete a container that was made and cannot run; what fails is noted on `error`."""
    failures: list[OcirunError] = []
    try:
        kill_and_wait(record)
    except OcirunError as second:
        failures.append(second)
    failures += destroy(record)
    for failure in failures:
        error.add_note(f"and then: {failure}")


def _tell(notify: Notify, record: Record) -> list[OcirunError]:
    """Wait until the detached container is ready or has ended; return what failed meanwhile."""
    try:
        notify.relay(open_init(record), record.init_process_pid)
    except ProcessLookupError:
        return [ContainerError(record.id, "the container has ended before it was ready")]
    except OcirunError as error:
        return [error]
    finally:
        notify.close()
    return []
