"""Create and start in one, and stay until the container ends unless told not to.

Source: docs/runc-compat/cli.md#create-and-run, docs/runc-compat/protocols.md#foreground-mode.
"""

from __future__ import annotations

import os

from ocirun.container.create import create
from ocirun.container.delete import destroy
from ocirun.container.kill import kill_and_wait
from ocirun.container.start import pass_gate
from ocirun.errors import SetupError, doing
from ocirun.kernel.prctl import set_child_subreaper
from ocirun.process.foreground import Foreground
from ocirun.process.wait import block_signals, wait_for

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirun.container.options import CreateOptions
    from ocirun.container.record import Record
    from ocirun.container.sd_notify import Notify
    from ocirun.container.store import Store
    from ocirun.errors import OcirunError


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
        failed of the poststop hooks and of what a service manager should hear.

    Raises:
        OcirunError: it could not be created or started; nothing is left of it.
    """
    if detach:
        record = create(store, container_id, options)
        notify = _start(store, record, options)
        return 0, _tell(notify, record) if notify else []
    if subreaper:
        set_child_subreaper()
    block_signals()
    foreground = Foreground()
    record = create(store, container_id, options, foreground)
    pidfd = _open_init(store, record)
    try:
        notify = _start(store, record, options, foreground)
        if notify:
            # We stay, forward signals and give the exit status: we are what is to be watched.
            notify.relay_meanwhile(pidfd, os.getpid())
        status = wait_for(record.init_process_pid, pidfd, foreground)
        foreground.finish()
        failures = notify.finish() if notify else []
    finally:
        os.close(pidfd)
        foreground.restore()
    return status, failures if keep else [*failures, *destroy(store, record)]


def _open_init(store: Store, record: Record) -> int:
    """Open the pidfd of the container's init; where that fails the container goes again."""
    try:
        with doing("opening the container's init"):
            return os.pidfd_open(record.init_process_pid)
    except BaseException:
        kill_and_wait(record)
        destroy(store, record)
        raise


def _start(
    store: Store, record: Record, options: CreateOptions, foreground: Foreground | None = None
) -> Notify | None:
    """Start the container; give what a service manager waits for, if one does."""
    notify = None
    try:
        if options.notify_socket:
            from ocirun.container.sd_notify import Notify  # cold

            notify = Notify(store.directory(record.id), options.notify_socket)
        if foreground:
            foreground.connect()
        pass_gate(store, record)
    except BaseException:
        if notify:
            notify.close()
        kill_and_wait(record)
        destroy(store, record)
        raise
    return notify


def _tell(notify: Notify, record: Record) -> list[OcirunError]:
    """Wait until the detached container is ready or has ended; give what failed of telling it."""
    # Still our child: its pid stays its own until it is reaped, which is not before we exit.
    pidfd = os.pidfd_open(record.init_process_pid)
    try:
        notify.relay(pidfd, record.init_process_pid)
    except SetupError as error:
        return [error]
    finally:
        notify.close()
        os.close(pidfd)
    return []
