"""Rules for members of `process` that few containers have; see `rules`.

Source: sched(7), sched_setattr(2), selinux(8); runtime-spec config.md#linux-process.
"""

from __future__ import annotations

import os

from ocirun.errors import Problem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Final

    from ocirun.spec.types import Process, Scheduler

    Found = Iterator[Problem]

SELINUX: Final = "/sys/fs/selinux/enforce"
APPARMOR: Final = "/sys/module/apparmor/parameters/enabled"  # "Y" or "N"

NO_SELINUX: Final = "selinux label is specified in config, but selinux is disabled or not supported"

REALTIME_POLICIES: Final = ("SCHED_FIFO", "SCHED_RR")


def check_asked_rules(process: Process) -> list[Problem]:
    """Return the broken rules of `process`, with pointers that begin at the process."""
    problems: list[Problem] = []
    if "scheduler" in process:
        for rule in SCHEDULER_RULES:
            problems += rule(process["scheduler"])
    return problems + [problem for rule in OTHER_RULES for problem in rule(process)]


def has_selinux() -> bool:
    """Return whether SELinux is enabled on this host."""
    return os.path.exists(SELINUX)


def nice_is_in_range(scheduler: Scheduler) -> Found:
    """The kernel ignores it for realtime policies, and so does runc."""
    nice = scheduler.get("nice", 0)
    if not -20 <= nice <= 19:
        yield Problem("/scheduler/nice", f"invalid nice value {nice}: it must be from -20 to 19")


def priority_fits_policy(scheduler: Scheduler) -> Found:
    """Static priorities order realtime work."""
    priority = scheduler.get("priority", 0)
    if scheduler["policy"] in REALTIME_POLICIES:
        if not 1 <= priority <= 99:
            message = f"{scheduler['policy']} needs a priority from 1 to 99, not {priority}"
            yield Problem("/scheduler/priority", message)
    elif priority:
        message = "priority can only be specified for SCHED_FIFO or SCHED_RR policy"
        yield Problem("/scheduler/priority", message)


def times_fit_policy(scheduler: Scheduler) -> Found:
    """Runtime, deadline and period describe SCHED_DEADLINE and nothing else."""
    if scheduler["policy"] != "SCHED_DEADLINE":
        for name in ("runtime", "deadline", "period"):
            if scheduler.get(name):
                message = f"{name} can only be specified for SCHED_DEADLINE policy"
                yield Problem(f"/scheduler/{name}", message)
        return
    runtime, deadline = scheduler.get("runtime", 0), scheduler.get("deadline", 0)
    period = scheduler.get("period", 0) or deadline  # Kernel: a period of 0 is the deadline
    if not 1024 <= runtime <= deadline <= period < 1 << 63:
        message = "SCHED_DEADLINE needs 1024 ≤ runtime ≤ deadline ≤ period nanoseconds"
        yield Problem("/scheduler", message)


def selinux_is_there(process: Process) -> Found:
    """A label that no security module enforces would give a false sense of security."""
    if process.get("selinuxLabel") and not has_selinux():
        yield Problem("/selinuxLabel", NO_SELINUX)


def apparmor_is_there(process: Process) -> Found:
    """The same for a profile."""
    if process.get("apparmorProfile") and not _is_apparmor_enabled():
        message = (
            "apparmor profile is specified in config, but apparmor is disabled or not supported"
        )
        yield Problem("/apparmorProfile", message)


def _is_apparmor_enabled() -> bool:
    try:
        with open(APPARMOR, "rb") as parameter:
            return parameter.read(1) == b"Y"
    except OSError:  # no such module in this kernel
        return False


def exec_affinity_is_a_list(process: Process) -> Found:
    """CPU numbers and ranges that mean something; `exec` uses them, create does not."""
    from ocirun.spec.cpulist import bits_of

    affinity: dict[str, str] = process.get("execCPUAffinity", {})  # type: ignore[assignment]
    for name in ("initial", "final"):
        try:
            bits_of(affinity.get(name, ""))
        except ValueError as error:
            yield Problem(f"/execCPUAffinity/{name}", f"invalid list of CPUs: {error}")


OTHER_RULES: Final = (selinux_is_there, apparmor_is_there, exec_affinity_is_a_list)
SCHEDULER_RULES: Final = (nice_is_in_range, priority_fits_policy, times_fit_policy)
