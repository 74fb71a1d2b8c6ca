"""sched_setattr(2): CPU scheduling policy."""

from __future__ import annotations

from ocirun.kernel._native import ffi, lib
from ocirun.kernel.oserror import oserror

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

SCHED_OTHER: Final = 0
SCHED_FIFO: Final = 1
SCHED_RR: Final = 2
SCHED_BATCH: Final = 3
SCHED_ISO: Final = 4  # a number without code in the kernel
SCHED_IDLE: Final = 5
SCHED_DEADLINE: Final = 6

SCHED_FLAG_RESET_ON_FORK: Final = 0x01
SCHED_FLAG_RECLAIM: Final = 0x02
SCHED_FLAG_DL_OVERRUN: Final = 0x04
SCHED_FLAG_KEEP_POLICY: Final = 0x08
SCHED_FLAG_KEEP_PARAMS: Final = 0x10
SCHED_FLAG_UTIL_CLAMP_MIN: Final = 0x20
SCHED_FLAG_UTIL_CLAMP_MAX: Final = 0x40

SCHED_ATTR_SIZE_VER0: Final = 48
SCHED_ATTR_SIZE_VER1: Final = 56  # Kernel: from 5.3, with the two utilization clamps


def sched_setattr(
    policy: int,
    flags: int,
    *,
    nice: int = 0,
    priority: int = 0,
    runtime: int = 0,
    deadline: int = 0,
    period: int = 0,
) -> None:
    """Set our own policy; the last three are nanoseconds, for SCHED_DEADLINE.

    Raises:
        OSError: EPERM without CAP_SYS_NICE, or when the cgroup (v1) has no realtime budget; EINVAL
            for values the policy does not take; EBUSY when the CPUs have no such time left.

    Source: sched_setattr(2), sched(7).
    """
    clamps = SCHED_FLAG_UTIL_CLAMP_MIN | SCHED_FLAG_UTIL_CLAMP_MAX
    size = SCHED_ATTR_SIZE_VER1 if flags & clamps else SCHED_ATTR_SIZE_VER0
    values = (size, policy, flags, nice, priority, runtime, deadline, period)
    if lib.sys_sched_setattr(*values) < 0:
        raise oserror(ffi.errno, f"sched_setattr(0, {{size, policy, …}} = {values})")
