"""ioprio_set(2): I/O scheduling class and priority."""

from __future__ import annotations

from ocirun.kernel._native import ffi, lib
from ocirun.kernel.oserror import oserror

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

IOPRIO_WHO_PGRP: Final = 2
IOPRIO_CLASS_SHIFT: Final = 13
IOPRIO_CLASS_RT: Final = 1
IOPRIO_CLASS_BE: Final = 2
IOPRIO_CLASS_IDLE: Final = 3


def ioprio_set(ioprio_class: int, level: int) -> None:
    """Set class and level (0, the first served, to 7) of our process group.

    Raises:
        OSError: EPERM for IOPRIO_CLASS_RT without CAP_SYS_ADMIN or CAP_SYS_NICE; EINVAL.

    Source: ioprio_set(2).
    """
    ioprio = ioprio_class << IOPRIO_CLASS_SHIFT | level
    if lib.sys_ioprio_set(IOPRIO_WHO_PGRP, 0, ioprio) < 0:
        raise oserror(ffi.errno, f"ioprio_set(IOPRIO_WHO_PGRP, 0, {ioprio:#x})")
