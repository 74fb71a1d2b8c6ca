"""What few programs ask for: a scheduling policy, an I/O priority, a personality, memory nodes.

All four are inherited over execve, and by whatever the program starts.

Source: runtime-spec config.md#linux-process, config-linux.md#personality, #memory-policy.
"""

from __future__ import annotations

from errno import EINVAL, EPERM

from ocirun.errors import SetupError, doing, kernel_words
from ocirun.kernel import ioprio_set as ioprio
from ocirun.kernel import personality as persona
from ocirun.kernel import sched_setattr as sched
from ocirun.kernel.set_mempolicy import set_mempolicy
from ocirun.spec.cpulist import bits_of
from ocirun.spec.memory_policy import FLAGS, MODES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from ocirun.process.context import InitContext
    from ocirun.spec.types import IoPriority, MemoryPolicy, Personality, Scheduler

POLICIES: Final = {
    "SCHED_OTHER": sched.SCHED_OTHER,
    "SCHED_FIFO": sched.SCHED_FIFO,
    "SCHED_RR": sched.SCHED_RR,
    "SCHED_BATCH": sched.SCHED_BATCH,
    "SCHED_ISO": sched.SCHED_ISO,
    "SCHED_IDLE": sched.SCHED_IDLE,
    "SCHED_DEADLINE": sched.SCHED_DEADLINE,
}

SCHED_FLAGS: Final = {
    "SCHED_FLAG_RESET_ON_FORK": sched.SCHED_FLAG_RESET_ON_FORK,
    "SCHED_FLAG_RECLAIM": sched.SCHED_FLAG_RECLAIM,
    "SCHED_FLAG_DL_OVERRUN": sched.SCHED_FLAG_DL_OVERRUN,
    "SCHED_FLAG_KEEP_POLICY": sched.SCHED_FLAG_KEEP_POLICY,
    "SCHED_FLAG_KEEP_PARAMS": sched.SCHED_FLAG_KEEP_PARAMS,
    "SCHED_FLAG_UTIL_CLAMP_MIN": sched.SCHED_FLAG_UTIL_CLAMP_MIN,
    "SCHED_FLAG_UTIL_CLAMP_MAX": sched.SCHED_FLAG_UTIL_CLAMP_MAX,
}

# What the kernel does not say with its errno.
SCHEDULER_HINTS: Final = {
    ("SCHED_ISO", EINVAL): "no Linux kernel has this policy",
    ("SCHED_DEADLINE", EINVAL): (
        "it needs 1024 ns ≤ runtime ≤ deadline ≤ period < 2⁶³ ns, "
        "within /proc/sys/kernel/sched_deadline_period_{min,max}_us"
    ),
    ("SCHED_DEADLINE", EPERM): "it needs CAP_SYS_NICE and a cpuset of whole scheduling domains",
    ("SCHED_FIFO", EPERM): "it needs CAP_SYS_NICE, and in cgroup v1 a cpu.rt_runtime_us",
    ("SCHED_RR", EPERM): "it needs CAP_SYS_NICE, and in cgroup v1 a cpu.rt_runtime_us",
}

IO_CLASSES: Final = {
    "IOPRIO_CLASS_RT": ioprio.IOPRIO_CLASS_RT,
    "IOPRIO_CLASS_BE": ioprio.IOPRIO_CLASS_BE,
    "IOPRIO_CLASS_IDLE": ioprio.IOPRIO_CLASS_IDLE,
}

DOMAINS: Final = {"LINUX": persona.PER_LINUX, "LINUX32": persona.PER_LINUX32}


def set_scheduler(init: InitContext) -> None:
    """Set process.scheduler."""
    apply_scheduler(init.config["process"]["scheduler"])


def set_io_priority(init: InitContext) -> None:
    """Set process.ioPriority."""
    apply_io_priority(init.config["process"]["ioPriority"])


def set_personality(init: InitContext) -> None:
    """Set linux.personality."""
    apply_personality(init.config["linux"]["personality"])


def set_memory_policy(init: InitContext) -> None:
    """Set linux.memoryPolicy."""
    apply_memory_policy(init.config["linux"]["memoryPolicy"])


def apply_scheduler(scheduler: Scheduler) -> None:
    """Set our CPU scheduling policy and its values.

    Order: inside the container's cgroup, whose cpuset and realtime budget count; while we still
    have CAP_SYS_NICE.

    Raises:
        SetupError: the kernel's reason, with a hint where its word alone says little.
    """
    policy = scheduler["policy"]
    flags = 0
    for name in scheduler.get("flags", ()):
        flags |= SCHED_FLAGS[name]
    try:
        sched.sched_setattr(
            POLICIES[policy],
            flags,
            nice=scheduler.get("nice", 0),
            priority=scheduler.get("priority", 0),
            runtime=scheduler.get("runtime", 0),
            deadline=scheduler.get("deadline", 0),
            period=scheduler.get("period", 0),
        )
    except OSError as error:
        raise _scheduler_error(policy, error) from error


def _scheduler_error(policy: str, error: OSError) -> SetupError:
    number = error.errno or 0
    hint = SCHEDULER_HINTS.get((policy, number))
    message = f"setting the scheduling policy {policy}: {kernel_words(error)}"
    return SetupError(f"{message} ({hint})" if hint else message, number)


def apply_io_priority(priority: IoPriority) -> None:
    """Set the I/O class and level of our process group, which is we alone.

    Raises:
        SetupError: EPERM for IOPRIO_CLASS_RT without CAP_SYS_ADMIN or CAP_SYS_NICE.
    """
    with doing(f"setting the I/O priority {priority['class']}"):
        ioprio.ioprio_set(IO_CLASSES[priority["class"]], priority.get("priority", 0))


def apply_personality(personality: Personality) -> None:
    """Set our execution domain. The specification has no flags yet."""
    with doing(f"setting the personality {personality['domain']}"):
        persona.personality(DOMAINS[personality["domain"]])


def apply_memory_policy(policy: MemoryPolicy) -> None:
    """Set from which NUMA nodes our memory is taken.

    Raises:
        SetupError: EINVAL for nodes this machine or the cpuset does not have, or for a mode that
            this kernel does not know; ENOSYS without NUMA.
    """
    mode = MODES[policy["mode"]]
    for name in policy.get("flags", ()):
        mode |= FLAGS[name]
    nodes = policy.get("nodes", "")
    where = f" on nodes {nodes}" if nodes else ""
    with doing(f"setting the memory policy {policy['mode']}{where}"):
        set_mempolicy(mode, bits_of(nodes))
