"""A container's init: whether it is there, its pidfd, and signals to it.

A pid identifies a process only together with its start time, or while a pidfd is open.

Source: pidfd_open(2), proc_pid_stat(5).
"""

from __future__ import annotations

import os
import time

from ocirun.errors import SetupError, kernel_words
from ocirun.kernel.procstat import start_time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from ocirun.container.record import Record

WAIT_S: Final = 1.0
PAUSE_S: Final = 0.01


def is_there(record: Record) -> bool:
    """Return whether the container's init, and no other process with its pid, is alive."""
    pid = record.init_process_pid
    return bool(pid) and start_time(pid) == record.init_process_start


def goes_away(record: Record) -> bool:
    """Wait a second for an init that is on its way out; return whether it is gone.

    Kernel: it is not seen to be dead before every other process of its pid namespace is reaped, one
    that we were bringing there included.
    """
    end = time.monotonic() + WAIT_S
    while is_there(record):
        if time.monotonic() > end:
            return False
        time.sleep(PAUSE_S)
    return True


def open_init(record: Record) -> int:
    """Return a pidfd of the container's init; it belongs to the record, which keeps it.

    Raises:
        ProcessLookupError: init is gone.
        SetupError: the kernel refused.
    """
    if record.init_pidfd >= 0:
        return record.init_pidfd
    if not record.init_process_pid:
        raise ProcessLookupError
    try:
        pidfd = os.pidfd_open(record.init_process_pid)
    except ProcessLookupError:
        raise
    except OSError as error:
        message = f"opening the container's init: {kernel_words(error)}"
        raise SetupError(message, error.errno or 0) from error
    # Order: compared while the pidfd holds the pid; before, it could be reused still.
    alive = False
    try:
        alive = is_there(record)
    finally:
        if not alive:
            os.close(pidfd)
    if not alive:
        raise ProcessLookupError
    record.init_pidfd = pidfd
    return pidfd


def signal_init(record: Record, signal: int, *, tolerate_gone: bool = False) -> None:
    """Signal init itself, through its pidfd, so that no other process can be hit.

    Raises:
        SetupError: it is gone (unless tolerated), or not ours to signal.
    """
    from _signal import pidfd_send_signal

    try:
        pidfd_send_signal(open_init(record), signal)
    except ProcessLookupError as error:
        if tolerate_gone:
            return
        raise SetupError("unable to signal init: os: process already finished", 3) from error
    except OSError as error:
        message = f"unable to signal init: {kernel_words(error)}"
        raise SetupError(message, error.errno or 0) from error
