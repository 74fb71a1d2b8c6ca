"""personality(2): the execution domain."""

from __future__ import annotations

from ocirun.kernel._native import ffi, lib
from ocirun.kernel.oserror import oserror

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

PER_LINUX: Final = 0x0000
PER_LINUX32: Final = 0x0008


def personality(persona: int) -> None:
    """Set our execution domain, with all its flags; children and execve inherit it.

    Source: personality(2).
    """
    if lib.personality(persona) < 0:
        raise oserror(ffi.errno, f"personality({persona:#x})")
