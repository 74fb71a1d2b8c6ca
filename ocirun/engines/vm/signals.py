"""Signals of this host, on their way to a process in the guest.

Source: signal(7), docs.python.org library/signal.html#signal.set_wakeup_fd.
"""

from __future__ import annotations

import _signal
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

# Signals that the kernel sends for our own errors are not forwarded, nor is SIGCHLD.
OURS: Final = frozenset({_signal.SIGKILL, _signal.SIGSTOP, _signal.SIGCHLD, _signal.SIGSEGV,
                         _signal.SIGBUS, _signal.SIGFPE, _signal.SIGILL, _signal.SIGTRAP,
                         _signal.SIGSYS, _signal.SIGABRT})  # fmt: skip


def forward_signals() -> int:
    """Have signals arrive as bytes on the descriptor that is returned."""
    reading, writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    _signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    for number in _signal.valid_signals() - OURS:
        try:
            _signal.signal(number, _nothing)
        except OSError:  # the C library keeps two for itself
            continue
    _signal.pthread_sigmask(_signal.SIG_SETMASK, ())
    return reading


def _nothing(_number: int, _frame: object) -> None:
    """Do nothing: the wakeup descriptor gets the number."""
