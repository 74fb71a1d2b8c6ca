"""capset(2) and capget(2) with the sets as plain ints: bit n is capability n."""

from __future__ import annotations

from ocirun.kernel._native import ffi, lib
from ocirun.kernel.oserror import oserror

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

_LOW: Final = 0xFFFFFFFF


def capset(effective: int, permitted: int, inheritable: int) -> None:
    """Set our effective, permitted and inheritable sets at once."""
    sets = (effective, permitted, inheritable)
    words = ffi.new("uint32_t[6]", [s & _LOW for s in sets] + [s >> 32 for s in sets])
    if lib.sys_capset(words) < 0:
        raise oserror(ffi.errno, f"capset({effective:#x}, {permitted:#x}, {inheritable:#x})")


def capget() -> tuple[int, int, int]:
    """Return our effective, permitted and inheritable set.

    Security: a set that the kernel did not write has every bit.
    """
    words = ffi.new("uint32_t[6]", [_LOW] * 6)
    if lib.sys_capget(words) < 0:
        raise oserror(ffi.errno, "capget()")
    low = [int(word) for word in words]
    return low[0] | low[3] << 32, low[1] | low[4] << 32, low[2] | low[5] << 32
