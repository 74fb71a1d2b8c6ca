"""ptrace(2), to read the seccomp filters of a process.

Source: ptrace(2), PTRACE_SECCOMP_GET_FILTER; seccomp(2).
"""

from __future__ import annotations

import os
import time
from errno import EINVAL, ENOENT, ETIMEDOUT

from ocirun.kernel._native import ffi, lib
from ocirun.kernel.oserror import oserror
from ocirun.kernel.seccomp import BPF_MAXINSNS, INSTRUCTION_BYTES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

PTRACE_DETACH: Final = 17
PTRACE_SEIZE: Final = 0x4206
PTRACE_INTERRUPT: Final = 0x4207
PTRACE_SECCOMP_GET_FILTER: Final = 0x420C
WALL: Final = 0x40000000  # __WALL: clones as well
STOP_SECONDS: Final = 2.0
STEP_SECONDS: Final = 0.001


def read_filters(pid: int) -> list[bytes]:
    """Return the seccomp filters of the process `pid`, the newest first, as classic BPF.

    The process is stopped meanwhile, and goes on when this returns or the caller ends.

    Raises:
        OSError: EPERM without the rights, or if another process traces it already;
            EACCES without CAP_SYS_ADMIN in the first user namespace or below a filter of our own;
            ETIMEDOUT for a process that cannot be stopped, such as a frozen one; ESRCH when it is
            gone; EINVAL on a kernel without it (CONFIG_CHECKPOINT_RESTORE).
    """
    _ptrace("PTRACE_SEIZE", PTRACE_SEIZE, pid)
    _ptrace("PTRACE_INTERRUPT", PTRACE_INTERRUPT, pid)
    _wait_for_stop(pid)
    try:
        return _filters(pid)
    finally:
        lib.sys_ptrace(PTRACE_DETACH, pid, 0, 0)


def _filters(pid: int) -> list[bytes]:
    found: list[bytes] = []
    buffer = ffi.new("char[]", BPF_MAXINSNS * INSTRUCTION_BYTES)
    while True:
        try:
            count = _ptrace(
                "PTRACE_SECCOMP_GET_FILTER",
                PTRACE_SECCOMP_GET_FILTER,
                pid,
                len(found),
                int(ffi.cast("uintptr_t", buffer)),
            )
        except OSError as error:
            # Kernel: EINVAL is a process without a filter, ENOENT the end of its list.
            if error.errno == ENOENT or (error.errno == EINVAL and found):
                return found
            raise
        found.append(bytes(ffi.buffer(buffer)[: count * INSTRUCTION_BYTES]))


def _wait_for_stop(pid: int) -> None:
    end = time.monotonic() + STOP_SECONDS
    while os.waitpid(pid, os.WNOHANG | WALL)[0] == 0:
        if time.monotonic() > end:
            raise oserror(ETIMEDOUT, f"ptrace(PTRACE_INTERRUPT, {pid})")
        time.sleep(STEP_SECONDS)


def _ptrace(name: str, request: int, pid: int, address: int = 0, data: int = 0) -> int:
    result = lib.sys_ptrace(request, pid, address, data)
    if result < 0:
        raise oserror(ffi.errno, f"ptrace({name}, {pid})")
    return int(result)
