"""keyctl(2), one function for each operation we use."""

from __future__ import annotations

import os

from ocirun.kernel._native import ffi, lib
from ocirun.kernel.oserror import oserror

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

KEYCTL_JOIN_SESSION_KEYRING: Final = 1
KEYCTL_SETPERM: Final = 5
KEYCTL_DESCRIBE: Final = 6
KEY_SPEC_SESSION_KEYRING: Final = -3
MAX_DESCRIPTION_BYTES: Final = 4096
_UNSIGNED: Final = 2**64 - 1


def _keyctl(name: str, operation: int, arg2: int, arg3: int = 0, arg4: int = 0) -> int:
    result = lib.sys_keyctl(operation, arg2 & _UNSIGNED, arg3, arg4, 0)
    if result < 0:
        raise oserror(ffi.errno, f"keyctl({name}, …)")
    return result


def join_session_keyring(name: str) -> int:
    """Join the session keyring `name`, created if it does not exist; return its serial number."""
    buffer = ffi.new("char[]", os.fsencode(name))
    return _keyctl("KEYCTL_JOIN_SESSION_KEYRING", KEYCTL_JOIN_SESSION_KEYRING, address_of(buffer))


def describe_permissions(key: int) -> int:
    """Return the permission mask of `key`: the fourth field of its description, hexadecimal."""
    buffer = ffi.new("char[]", MAX_DESCRIPTION_BYTES)
    _keyctl("KEYCTL_DESCRIBE", KEYCTL_DESCRIBE, key, address_of(buffer), MAX_DESCRIPTION_BYTES)
    return int(ffi.string(buffer).split(b";")[3], 16)


def set_permissions(key: int, permissions: int) -> None:
    """Set the permission mask of `key`."""
    _keyctl("KEYCTL_SETPERM", KEYCTL_SETPERM, key, permissions)


def address_of(buffer: object) -> int:
    """Return the address of a cffi array as an integer, for a raw system call."""
    return int(ffi.cast("uintptr_t", buffer))
