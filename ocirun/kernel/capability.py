"""capset(2) with the sets as plain ints: bit n is capability n."""

from __future__ import annotations

from ocirun.kernel._native import ffi, lib
from ocirun.kernel.oserror import oserror

_LOW = 0xFFFFFFFF


def capset(effective: int, permitted: int, inheritable: int) -> None:
    """Set our effective, permitted and inheritable sets at once."""
    sets = (effective, permitted, inheritable)
    words = ffi.new("uint32_t[6]", [s & _LOW for s in sets] + [s >> 32 for s in sets])
    if lib.sys_capset(words) < 0:
        raise oserror(ffi.errno, f"capset({effective:#x}, {permitted:#x}, {inheritable:#x})")
