"""Waiting in the foreground: signals in, exit status out.

Signals are blocked and taken one by one with sigwaitinfo, so that none is lost and nothing runs
in a handler.

Source: sigwaitinfo(2), wait(2); docs/runc-compat/protocols.md#foreground-mode.
"""

from __future__ import annotations

import _signal
import os

from ocirun.errors import doing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    from ocirun.process.foreground import Foreground

# Signals that the kernel sends for our own errors are not forwarded.
OURS: Final = frozenset({_signal.SIGKILL, _signal.SIGSTOP, _signal.SIGSEGV, _signal.SIGBUS,
                         _signal.SIGFPE, _signal.SIGILL, _signal.SIGTRAP, _signal.SIGSYS,
                         _signal.SIGABRT})  # fmt: skip


def block_signals() -> None:
    """Block every signal until `wait_for` takes it.

    Order: before init is cloned. A signal that comes during setup is then forwarded, not lost; a
    child gets its own mask back before execve (reset_signals, posix_spawn's setsigmask).

    Kernel: where the caller had SIGCHLD ignored, children would vanish with their exit status.
    """
    with doing("holding signals back"):
        _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)
        _signal.pthread_sigmask(_signal.SIG_BLOCK, _forwarded())


def _forwarded() -> set[Any]:
    forwarded: set[Any] = _signal.valid_signals() - OURS
    return forwarded


def wait_for(pid: int, pidfd: int, foreground: Foreground) -> int:
    """Wait until `pid`, a child of ours, ends; meanwhile forward signals and reap orphans.

    Returns:
        Its exit status, or 128 plus the signal that killed it.
    """
    signals = _forwarded()
    while True:
        # Order: reaped before waiting: a SIGCHLD may be pending from before, or be merged.
        with doing(f"waiting for process {pid}"):
            status = _reap(pid)
        if status is not None:
            return status
        with doing("waiting for a signal"):
            number = _signal.sigwaitinfo(signals).si_signo
        if number == _signal.SIGWINCH and foreground.copy_size():
            continue
        if number != _signal.SIGCHLD:
            with doing(f"forwarding signal {number} to process {pid}"):
                try:
                    _signal.pidfd_send_signal(pidfd, number)
                except ProcessLookupError:  # it has just ended; SIGCHLD is on its way
                    continue


def _reap(pid: int) -> int | None:
    """Reap every child that has ended; return the exit status of `pid` if it is among them."""
    result = None
    while True:
        try:
            ended, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return result
        if not ended:
            return result
        if ended == pid:
            code = os.waitstatus_to_exitcode(status)
            result = code if code >= 0 else 128 - code
