"""seccomp(2): load a system call filter.

Source: seccomp(2), seccomp_unotify(2), linux/seccomp.h.
"""

from __future__ import annotations

from errno import EFAULT

from ocirun.kernel._native import ffi, lib
from ocirun.kernel.oserror import oserror

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

SECCOMP_FILTER_FLAG_NEW_LISTENER: Final = 1 << 3
SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV: Final = 1 << 5
INSTRUCTION_BYTES: Final = 8  # struct sock_filter
BPF_MAXINSNS: Final = 4096


def load_filter(program: bytes, flags: int) -> int:
    """Load `program` as a filter for every further system call of this thread.

    `program` is classic BPF, struct sock_filter after struct sock_filter.

    Returns:
        With SECCOMP_FILTER_FLAG_NEW_LISTENER the descriptor on which an agent learns of calls,
        close-on-exec and the caller's to close; else 0.

    Raises:
        OSError: EACCES without CAP_SYS_ADMIN and without no_new_privs; EINVAL for a program or a
            flag that the kernel does not take; EBUSY when there is a listener already.
    """
    result = lib.sys_seccomp_filter(flags, program, len(program))
    if result < 0:
        count = len(program) // INSTRUCTION_BYTES
        raise oserror(
            ffi.errno, f"seccomp(SECCOMP_SET_MODE_FILTER, {flags:#x}, {count} instructions)"
        )
    return result


def knows_flags(flags: int) -> bool:
    """Return whether this kernel supports all of `flags`; loads nothing."""
    return lib.sys_seccomp_filter(flags, ffi.NULL, 0) < 0 and ffi.errno == EFAULT
