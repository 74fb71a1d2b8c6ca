"""Resource limits and the OOM killer's preference.

Init sets its own limits as its very last act, when a small RLIMIT_NOFILE or RLIMIT_AS can no
longer hinder it. Only raising a hard limit needs a privilege that init may lack in a user
namespace (prlimit asks for CAP_SYS_RESOURCE in the first one): that the parent does, on request.

Source: runtime-spec config.md#posix-process; prlimit(2), proc(5) oom_score_adj.
"""

from __future__ import annotations

import os

from ocirun.errors import doing
from ocirun.kernel.process import get_rlimit, prlimit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from ocirun.spec.types import Rlimit

    Limit = tuple[int, int, int]  # resource, soft, hard


# Kernel: asm-generic/resource.h; the numbers of x86, arm64, riscv64, s390x, ppc64le, loongarch64.
# Python's `resource` is a shared object in most builds, which a snapshot cannot hold.
NUMBERS: Final = {
    "RLIMIT_CPU": 0,
    "RLIMIT_FSIZE": 1,
    "RLIMIT_DATA": 2,
    "RLIMIT_STACK": 3,
    "RLIMIT_CORE": 4,
    "RLIMIT_RSS": 5,
    "RLIMIT_NPROC": 6,
    "RLIMIT_NOFILE": 7,
    "RLIMIT_MEMLOCK": 8,
    "RLIMIT_AS": 9,
    "RLIMIT_LOCKS": 10,
    "RLIMIT_SIGPENDING": 11,
    "RLIMIT_MSGQUEUE": 12,
    "RLIMIT_NICE": 13,
    "RLIMIT_RTPRIO": 14,
    "RLIMIT_RTTIME": 15,
}


def limits_of(rlimits: list[Rlimit]) -> list[Limit]:
    """Turn `process.rlimits` into (resource number, soft, hard)."""
    return [(NUMBERS[r["type"]], r["soft"], r["hard"]) for r in rlimits]


def hard_limits_to_raise(limits: list[Limit]) -> list[tuple[int, int]]:
    """Return the (resource, hard limit) pairs that are above what this process has."""
    raised = []
    for number, _, hard in limits:
        if hard > get_rlimit(0, number)[1]:
            raised.append((number, hard))
    return raised


def raise_hard_limits(host_pid: int, limits: list[tuple[int, int]]) -> None:
    """Raise limits of `host_pid`, soft with hard, with the caller's privilege.

    Raises:
        SetupError: EPERM without CAP_SYS_RESOURCE, or above fs.nr_open.
    """
    for number, hard in limits:
        with doing(f"setting rlimit {_name(number)} to {hard}"):
            prlimit(host_pid, number, hard, hard)


def set_own_limits(limits: list[Limit]) -> None:
    """Set our limits, none of them above our hard ones any more."""
    for number, soft, hard in limits:
        with doing(f"setting rlimit {_name(number)} to {soft}:{hard}"):
            prlimit(0, number, soft, hard)


def _name(number: int) -> str:
    return next((name for name, known in NUMBERS.items() if known == number), str(number))


def set_oom_score_adj(score: int) -> None:
    """Set our oom_score_adj, zero included; children inherit it.

    Order: while /proc is the host's and we are dumpable, else the file belongs to root.

    Raises:
        SetupError: lowering it needs CAP_SYS_RESOURCE.
    """
    with doing(f"setting oom_score_adj to {score}"):
        fd = os.open("/proc/self/oom_score_adj", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, str(score).encode())
        finally:
            os.close(fd)
