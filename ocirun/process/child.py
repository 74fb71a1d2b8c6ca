"""Run a function in a short-lived child, and raise its error.

Source: clone3(2), pipe(7).
"""

from __future__ import annotations

import os

from ocirun.errors import OcirunError, SetupError, what_failed
from ocirun.kernel.process import clone3
from ocirun.process.clone import reap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final, NoReturn

REPORT_BYTES: Final = 4096  # PIPE_BUF: written atomically
SUCCESS: Final = b"0:"  # otherwise the errno, ":" and the message


def run_in_child(name: str, act: Callable[[int], object], flags: int = 0) -> None:
    """Run `act` in a child cloned with `flags`, and wait for it.

    `name` is the child's name in errors. `act` gets the descriptor that the child reports through,
    which it must not close.

    Raises:
        SetupError: `act` failed, with its message and errno, or the child was killed.
        OSError: the kernel refused the clone.
    """
    read_fd, write_fd = os.pipe2(os.O_CLOEXEC)
    try:
        try:
            pid, pidfd = clone3(flags)
            if pid == 0:
                _be_child(act, write_fd)
        finally:
            os.close(write_fd)
        os.close(pidfd)
        try:
            report = os.read(read_fd, REPORT_BYTES)
        finally:
            reap(pid)
    finally:
        os.close(read_fd)
    if report != SUCCESS:
        errno, _, sentence = os.fsdecode(report).partition(":")
        raise SetupError(sentence or f"{name} died without saying why", int(errno or 0))


def _be_child(act: Callable[[int], object], write_fd: int) -> NoReturn:
    try:
        try:
            act(write_fd)
            report = SUCCESS
        except BaseException as error:  # noqa: BLE001  # reported to the parent
            report = os.fsencode(f"{getattr(error, 'errno', None) or 0}:{_sentence(error)}")
        os.write(write_fd, report[:REPORT_BYTES])
    finally:
        os._exit(0)


def _sentence(error: BaseException) -> str:
    if isinstance(error, OcirunError):
        return str(error)
    if isinstance(error, OSError):
        return what_failed(error)
    return f"internal error: {type(error).__name__}: {error}"
