"""The properties that a child of the calling thread inherits and init keeps.

Source: proc_pid_status(5), proc_pid_limits(5), proc_pid_ns(5), credentials(7).
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

# The other lines change all the time, or are set by init itself.
PRIVILEGES: Final = tuple(
    b"\n%s:\t" % name
    for name in (
        *(b"Uid", b"Gid", b"Groups", b"CapInh", b"CapPrm", b"CapEff", b"CapBnd", b"CapAmb"),
        *(b"NoNewPrivs", b"Seccomp", b"Seccomp_filters"),
    )
)
READ_BYTES: Final = 1 << 16  # larger than each of these files, so one read returns all
NAMESPACES: Final = (
    *("cgroup", "ipc", "mnt", "net", "pid_for_children", "time_for_children", "user", "uts"),
)


def situation() -> tuple[object, ...]:
    """Return this thread's ids, capabilities, namespaces, cgroups, limits and root, to compare."""
    root = os.stat("/")
    folder_fd = os.open("/proc/thread-self/ns", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # Speed: a third of what stat of the whole path takes, for each of the eight.
        namespaces = [_namespace(folder_fd, name) for name in NAMESPACES]
    finally:
        os.close(folder_fd)
    return (
        privileges("/proc/thread-self"),
        *(_read(f"/proc/thread-self/{name}") for name in ("limits", "cgroup", "oom_score_adj")),
        *namespaces,
        os.getpriority(os.PRIO_PROCESS, 0),
        os.sched_getscheduler(0),
        (root.st_dev, root.st_ino),
    )


def privileges(folder: str) -> tuple[bytes, ...]:
    """Return the lines about ids and capabilities of the process with the /proc directory `folder`.

    Raises:
        OSError: ENOENT or ESRCH if it has ended.
    """
    text = _read(f"{folder}/status")
    # Speed: searched for, not split. A line that a kernel lacks is b"".
    return tuple([_line(text, text.find(name)) for name in PRIVILEGES])


def _line(text: bytes, start: int) -> bytes:
    return text[start + 1 : text.find(b"\n", start + 1)] if start >= 0 else b""


def _read(path: str) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, READ_BYTES)
    finally:
        os.close(fd)


def _namespace(folder_fd: int, name: str) -> str:
    try:
        return os.readlink(name, dir_fd=folder_fd)
    except OSError:  # the kernel lacks this namespace, or a new pid namespace has no process yet
        return ""
