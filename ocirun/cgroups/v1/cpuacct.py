"""How much CPU time was used: v1. This controller counts and limits nothing.

Source: kernel admin-guide/cgroup-v1/cpuacct.rst.
"""

from __future__ import annotations

from ocirun.cgroups.counters import as_number, number, numbers, text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from ocirun.cgroups.counters import Part

NS_PER_TICK: Final = 10_000_000  # Kernel: USER_HZ is 100 for every program


def stat(directory: str) -> Part:
    """Return the time used (ns): in all, by each processor, and inside and outside the kernel.

    Raises:
        SetupError: a file cannot be read.
    """
    ticks = numbers(directory, "cpuacct.stat")
    user, kernel = _by_mode(directory)
    percpu = (text(directory, "cpuacct.usage_percpu") or "").split()
    return {
        "total": number(directory, "cpuacct.usage"),
        "percpu": [as_number(word, directory, "cpuacct.usage_percpu") for word in percpu],
        "percpu_kernel": kernel,
        "percpu_user": user,
        "kernel": ticks.get("system", 0) * NS_PER_TICK,
        "user": ticks.get("user", 0) * NS_PER_TICK,
    }


def _by_mode(directory: str) -> tuple[list[int], list[int]]:
    """Read `cpu user system` lines: the times of each processor in both modes."""
    user: list[int] = []
    kernel: list[int] = []
    name = "cpuacct.usage_all"
    for line in (text(directory, name) or "").splitlines():
        words = line.split()
        if len(words) == 3 and words[0].isdecimal():  # the first line names the columns
            user.append(as_number(words[1], directory, name))
            kernel.append(as_number(words[2], directory, name))
    return user, kernel
