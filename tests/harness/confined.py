"""A runtime that is itself confined: a seccomp filter around it refuses some system calls.

This is where a runtime lives in systemd-nspawn, in a container of Docker or below an engine with a
SystemCallFilter=. The filter is inherited by everything the runtime starts, the container too.

Source: seccomp(2); systemd.exec(5), SystemCallFilter= and SystemCallErrorNumber=.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Callable

from harness.faults import ALLOW, SECCOMP, SET_MODE_FILTER, number_of

ERRNO = 0x00050000

_libc = ctypes.CDLL(None, use_errno=True)


def refusing(errno: int, *names: str) -> Callable[[], None]:
    """Return what a child calls before its execve so that each call of `names` gives `errno`."""
    numbers = [number_of(name) for name in names]
    code = [struct.pack("HBBI", 0x20, 0, 0, 0)]
    for place, number in enumerate(numbers):
        code.append(struct.pack("HBBI", 0x15, len(numbers) - place, 0, number))
    code.append(struct.pack("HBBI", 0x06, 0, 0, ALLOW))
    code.append(struct.pack("HBBI", 0x06, 0, 0, ERRNO | errno))
    program = ctypes.create_string_buffer(b"".join(code))
    fprog = ctypes.create_string_buffer(struct.pack("H6xQ", len(code), ctypes.addressof(program)))

    def install() -> None:
        keep = program  # its address is in `fprog`
        if _libc.syscall(SECCOMP, SET_MODE_FILTER, 0, fprog) < 0:
            raise OSError(ctypes.get_errno(), f"a filter of {len(keep)} bytes")

    return install
