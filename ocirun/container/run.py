"""Create and start in one, and stay until the container ends unless told not to.

Source: contract §1.4, §1.15 (foreground and detached mode).
"""

from __future__ import annotations

import os

from ocirun.container.create import create
from ocirun.container.delete import destroy
from ocirun.container.kill import kill_and_wait
from ocirun.container.start import pass_gate
from ocirun.errors import doing
from ocirun.kernel.prctl import set_child_subreaper
from ocirun.process.foreground import Foreground
from ocirun.process.wait import block_signals, wait_for

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirun.container.options import CreateOptions
    from ocirun.container.record import Record
    from ocirun.container.store import Store
    from ocirun.errors import HookError


def run(
    store: Store,
    container_id: str,
    options: CreateOptions,
    *,
    detach: bool,
    keep: bool,
    subreaper: bool,
) -> tuple[int, list[HookError]]:
    """Run a container.

    Detached, it returns once the program runs. Otherwise it forwards signals, waits for the
    program's end and deletes the container, unless `keep`.

    Returns:
        The exit status (128 plus the signal that killed the program; 0 when detached), and what
        failed of the poststop hooks.

    Raises:
        OcirunError: it could not be created or started; nothing is left of it.
    """
    if detach:
        record = create(store, container_id, options)
        _start(store, record)
        return 0, []
    if subreaper:
        set_child_subreaper()
    block_signals()
    foreground = Foreground()
    record = create(store, container_id, options, foreground)
    pidfd = _open_init(store, record)
    try:
        _start(store, record, foreground)
        status = wait_for(record.init_process_pid, pidfd, foreground)
        foreground.finish()
    finally:
        os.close(pidfd)
        foreground.restore()
    return status, [] if keep else destroy(store, record)


def _open_init(store: Store, record: Record) -> int:
    """Open the pidfd of the container's init; where that fails the container goes again."""
    try:
        with doing("opening the container's init"):
            return os.pidfd_open(record.init_process_pid)
    except BaseException:
        kill_and_wait(record)
        destroy(store, record)
        raise


def _start(store: Store, record: Record, foreground: Foreground | None = None) -> None:
    try:
        if foreground:
            foreground.connect()
        pass_gate(store, record)
    except BaseException:
        kill_and_wait(record)
        destroy(store, record)
        raise
