"""Paths of /proc and /sys with which a process can read or change the whole machine.

For a bundle, access is determined on this host's kernel; for a running container, in its own /proc
and /sys.

Source: proc(5), sysfs(5), kernel admin-guide/sysctl/kernel.rst, admin-guide/sysrq.rst;
docs/audit.md.
"""

from __future__ import annotations

from ocirun.audit.finding import CRITICAL, HIGH, LOW, MEDIUM, NOTE, Rule

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from ocirun.audit.finding import Found
    from ocirun.audit.world import World

# Path: grade of reading it, what it exposes, and the capability that the kernel requires.
SHOWS: Final = {
    "/proc/kcore": (HIGH, "the memory of the kernel", "CAP_SYS_RAWIO"),
    "/proc/kmsg": (MEDIUM, "the kernel's log", "CAP_SYSLOG"),
    "/proc/kpageflags": (LOW, "the use of all memory", "CAP_SYS_ADMIN"),
    "/proc/keys": (LOW, "keys of all users", ""),
    "/proc/timer_list": (LOW, "timers of all processes", ""),
    "/proc/sched_debug": (MEDIUM, "processes of the host", ""),
    "/proc/latency_stats": (LOW, "what the kernel waits for", ""),
    "/proc/acpi": (LOW, "the host's hardware", ""),
    "/proc/asound": (LOW, "the host's sound hardware, which is a way to talk", ""),
    "/proc/scsi": (LOW, "the host's disks", ""),
    "/proc/interrupts": (NOTE, "the host's interrupts, from which input can be guessed", ""),
    "/sys/firmware": (MEDIUM, "the firmware's tables and variables", ""),
    "/sys/devices/virtual/powercap": (LOW, "the power used, from which secrets can be guessed", ""),
    "/sys/kernel/debug/devices_deferred": (HIGH, "the kernel's debugging files", ""),
    "/sys/kernel/tracing/trace": (HIGH, "what the kernel traces", ""),
}
RUNS: Final = "the kernel runs what it names, as root of the host"
# Path: grade of writing it, the effect, and the capability that the kernel requires.
DOES: Final = {
    "/proc/sys/kernel/core_pattern": (CRITICAL, RUNS, ""),
    "/proc/sys/kernel/modprobe": (CRITICAL, RUNS, ""),
    "/proc/sys/vm/panic_on_oom": (HIGH, "the host stops when memory runs out", ""),
    "/proc/sysrq-trigger": (HIGH, "the host reboots or stops", ""),
    "/proc/irq/default_smp_affinity": (MEDIUM, "interrupts move to other processors", ""),
    "/proc/mtrr": (HIGH, "memory of the host becomes unusable", "CAP_SYS_ADMIN"),
    "/proc/latency_stats": (LOW, "statistics are reset", ""),
    "/proc/scsi/scsi": (HIGH, "disks of the host are removed", ""),
    "/sys/kernel/uevent_helper": (CRITICAL, RUNS, ""),
    "/sys/power/state": (HIGH, "the host suspends", ""),
    "/sys/kernel/mm/transparent_hugepage/enabled": (MEDIUM, "the host's memory is slower", ""),
    "/sys/class/net/lo/uevent": (MEDIUM, "device events are sent to the host", ""),
}  # fmt: skip

UNMASKED: Final = Rule(
    "unmasked-path",
    (HIGH, MEDIUM, LOW, NOTE),
    "Add the path to linux.maskedPaths.",
    "Programs that read it find an empty file or directory.",
)
WRITABLE: Final = Rule(
    "writable-kernel-path",
    (CRITICAL, HIGH, MEDIUM, LOW),
    "Add the path, or the directory it is in, to linux.readonlyPaths, or mount /sys with ro.",
    "Settings of the kernel can no longer be changed from inside; linux.sysctl still sets them.",
)
RULES: Final = (UNMASKED, WRITABLE)


def find(world: World) -> Found:
    """Return findings about those paths that the process can read or write."""
    for path, (grade, does, needed) in DOES.items():
        if world.look(path).writable and (not needed or world.has(needed)):
            sentence = f"{path} can be written: {does}."
            yield WRITABLE.found(grade, sentence, "/linux/readonlyPaths")
    for path, (grade, shows, needed) in SHOWS.items():
        if world.look(path).readable:
            sentence = f"{path} is not masked and shows {shows}"
            if needed and not world.has(needed):
                sentence += f"; what is left to keep it is that {needed} is missing"
                grade = NOTE  # noqa: PLW2901  # for this one
            yield UNMASKED.found(grade, f"{sentence}.", "/linux/maskedPaths")
