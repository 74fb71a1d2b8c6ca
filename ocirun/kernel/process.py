"""Calls on processes: clone, namespaces, limits, descriptors, names."""

from __future__ import annotations

import _thread
import os
from errno import EPERM

from ocirun.kernel._native import ffi, lib
from ocirun.kernel.oserror import REFUSED, oserror, unavailable_hint

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any, Final, TypeVar

    T = TypeVar("T")

CLONE_NEWTIME: Final = 0x00000080
CLONE_PIDFD: Final = 0x00001000
CLONE_PARENT: Final = 0x00008000
CLONE_NEWNS: Final = 0x00020000
CLONE_NEWCGROUP: Final = 0x02000000
CLONE_NEWUTS: Final = 0x04000000
CLONE_NEWIPC: Final = 0x08000000
CLONE_NEWUSER: Final = 0x10000000
CLONE_NEWPID: Final = 0x20000000
CLONE_NEWNET: Final = 0x40000000
CLONE_INTO_CGROUP: Final = 0x200000000

CLOSE_RANGE_CLOEXEC: Final = 4
MAX_FD: Final = 0xFFFFFFFF


def clone3(flags: int, cgroup_fd: int | None = None) -> tuple[int, int]:
    """Fork, with flags of clone3; parent and child continue in Python.

    Must be called from a process with one thread. With `cgroup_fd` (borrowed) the child starts
    in that cgroup v2.

    Returns:
        In the parent (host pid of the child, pidfd the caller closes); in the child (0, -1).

    Where clone3 itself is refused, clone(2) does it, without CLONE_INTO_CGROUP and CLONE_NEWTIME.

    Raises:
        OSError: ENOSYS, EPERM for both; EPERM, ENOSPC, EUSERS for namespaces refused.

    Source: clone3(2).
    """
    pidfd = ffi.new("int *", -1)
    flags |= CLONE_PIDFD
    if cgroup_fd is not None:
        flags |= CLONE_INTO_CGROUP
    pid = lib.sys_clone3(flags, -1 if cgroup_fd is None else cgroup_fd, pidfd)
    if pid < 0:
        raise oserror(ffi.errno, f"clone3(flags={flags:#x})")
    if pid == 0:
        return 0, -1
    return pid, int(pidfd[0])


def start_thread(function: Callable[..., object], arguments: tuple[Any, ...]) -> None:
    """Call `function(*arguments)` in a thread, also where a filter around us refuses clone3.

    Raises:
        RuntimeError: clone3 is refused, and so is the filter that would help; or there is no room
            for another thread.

    Source: pthread_create(3).
    """
    try:
        _thread.start_new_thread(function, arguments)
    except RuntimeError as error:  # CPython does not say which call has failed
        if not lib.have_clone3_say_enosys():
            raise RuntimeError(f"{error}{unavailable_hint('clone3')}") from error
        _thread.start_new_thread(function, arguments)


def posix_spawn(
    path: str,
    arguments: list[str],
    env: Mapping[Any, Any],
    **options: Any,  # noqa: ANN401  # those of os.posix_spawn
) -> int:
    """Call os.posix_spawn, also where a filter around us refuses clone3; return the child's pid.

    Raises:
        OSError: as os.posix_spawn.

    Source: posix_spawn(3).
    """
    return without_clone3(lambda: os.posix_spawn(path, arguments, env, **options))


def without_clone3(call: Callable[[], T]) -> T:
    """Return what `call` returns, which starts a process by posix_spawn(3).

    It is called again where it failed because a filter around us refuses clone3.

    Raises:
        OSError: as `call`.
    """
    try:
        return call()
    except PermissionError as error:
        if error.errno != EPERM or not lib.have_clone3_say_enosys():
            raise
    return call()


def unshare(flags: int) -> None:
    """Move into new namespaces of the kinds in `flags`.

    Source: unshare(2).
    """
    if lib.unshare(flags) < 0:
        raise oserror(ffi.errno, f"unshare({flags:#x})")


def setns(fd: int, nstype: int) -> None:
    """Join the namespace that `fd` (borrowed) names; `nstype` must be its kind.

    Source: setns(2).
    """
    if lib.setns(fd, nstype) < 0:
        raise oserror(ffi.errno, f"setns({fd}, {nstype:#x})")


def setgroups(gids: Sequence[int]) -> None:
    """Set the supplementary groups of the calling thread, which is the only one.

    os.setgroups asks sysconf and NGROUPS_MAX first; this is the bare call. Source: setgroups(2).
    """
    if lib.sys_setgroups(ffi.new("uint32_t[]", list(gids) or 1), len(gids)) < 0:
        raise oserror(ffi.errno, f"setgroups({list(gids)})")


def prlimit(pid: int, resource: int, soft: int, hard: int) -> None:
    """Set a resource limit of `pid` (0: ourselves). Limits are uint64, 2**64-1 means none.

    Source: prlimit(2).
    """
    if lib.prlimit_set(pid, resource, soft, hard) < 0:
        raise oserror(ffi.errno, f"prlimit({pid}, {resource}, {soft}:{hard})")


def get_rlimit(pid: int, resource: int) -> tuple[int, int]:
    """Return (soft, hard) of a resource limit of `pid` (0: ourselves); 2**64-1 means none.

    Source: prlimit(2).
    """
    limits = ffi.new("uint64_t[2]")
    if lib.prlimit_get(pid, resource, limits) < 0:
        raise oserror(ffi.errno, f"prlimit({pid}, {resource}, NULL)")
    return limits[0], limits[1]


def reset_signals(*, ends_too: bool = False) -> None:
    """Reset every signal to its default disposition, and unblock all.

    Python ignores SIGPIPE and SIGXFSZ; an ignored signal stays ignored across execve. With
    `ends_too`, signals that would end a process by default end this one by exit with status
    128 plus the number, until execve: process 1 of a pid namespace has to ask for that.
    """
    if lib.reset_signals(ends_too) < 0:
        raise oserror(ffi.errno, "sigprocmask(SIG_SETMASK, [])")


def forget_arguments(title: bytes) -> bool:
    """Overwrite the arguments and the environment that this program was executed with.

    /proc/PID/cmdline shows `title` from then on, and /proc/PID/environ nothing.

    Returns:
        False where they are not found, as in an interpreter that something else has started.
    """
    return lib.forget_arguments(title, len(title)) == 0


def wipe(*texts: bytes) -> None:
    """Overwrite the memory of `texts`, which must have no other users.

    A single byte is shared with every other object of that value, and left alone.
    """
    for text in texts:
        if len(text) > 1:
            lib.wipe(text, len(text))


def forbid_libm() -> None:
    """Load the mathematical library no more; a function of it that would need this ends us.

    The launcher that starts from a snapshot loads it when it is needed, any other at its start.
    """
    lib.forbid_libm()


def ids() -> tuple[int, ...]:
    """Return our real, effective and saved uid, then gid, as the kernel has them.

    Security: a number that the kernel did not write is 2³²-1, which is not a valid id.
    Source: getresuid(2).
    """
    six = ffi.new("uint32_t[6]", [0xFFFFFFFF] * 6)
    if lib.sys_getres(six) < 0:
        raise oserror(ffi.errno, "getresuid()")
    return tuple(int(number) for number in six)


def reset_affinity() -> None:
    """Reset our CPU affinity to every CPU of our cpuset; keep it where the call is refused.

    Source: sched_setaffinity(2).
    """
    if lib.reset_affinity() < 0 and ffi.errno not in REFUSED:
        raise oserror(ffi.errno, "sched_setaffinity(0, every CPU)")


def close_range(first: int, last: int = MAX_FD, flags: int = 0) -> None:
    """Close (or with CLOSE_RANGE_CLOEXEC mark) the descriptors `first` to `last`.

    Source: close_range(2), Linux 5.9 (CLOSE_RANGE_CLOEXEC: 5.11).
    """
    if first <= last and lib.sys_close_range(first, last, flags) < 0:
        if ffi.errno in REFUSED:
            lib.close_each(first, last, flags)
            return
        raise oserror(ffi.errno, f"close_range({first}, {last}, {flags})")


def has_close_range() -> bool:
    """Return whether close_range is there, by marking descriptors that are not.

    Source: close_range(2).
    """
    return bool(lib.sys_close_range(MAX_FD - 1, MAX_FD, CLOSE_RANGE_CLOEXEC) == 0)


def sethostname(name: str) -> None:
    """Set the hostname of this UTS namespace.

    Source: sethostname(2).
    """
    raw = os.fsencode(name)
    if lib.sethostname(raw, len(raw)) < 0:
        raise oserror(ffi.errno, f"sethostname({name!r})")


def setdomainname(name: str) -> None:
    """Set the NIS domain name of this UTS namespace.

    Source: setdomainname(2).
    """
    raw = os.fsencode(name)
    if lib.setdomainname(raw, len(raw)) < 0:
        raise oserror(ffi.errno, f"setdomainname({name!r})")


def pidfd_getfd(pidfd: int, fd: int) -> int:
    """Duplicate descriptor `fd` of the process that `pidfd` (borrowed) names into ours.

    Returns:
        A descriptor the caller closes, close-on-exec.

    Raises:
        OSError: EPERM when we may not trace that process; EBADF when it has no such descriptor.

    Source: pidfd_getfd(2), Linux 5.6.
    """
    result = lib.sys_pidfd_getfd(pidfd, fd)
    if result < 0:
        raise oserror(ffi.errno, f"pidfd_getfd({pidfd}, {fd}, 0)")
    return result
