"""What can go wrong at each system call, and what must be true after it went wrong.

Source: the section ERRORS of each call's manual page, as in open(2).
"""

from __future__ import annotations

import errno
from collections.abc import Sequence

from harness.faults import Call, Decide
from harness.runtime import Result

_READS = "read recvmsg recvfrom"
_WRITES = "write sendmsg sendto"
_PATHS = (
    "openat openat2 newfstatat statx access faccessat2 readlink mkdir mkdirat mknodat symlinkat "
    "rename unlink rmdir chdir fchdir fstatfs umount2 pivot_root execve execveat"
)
_NEW_FDS = (
    "openat openat2 open_tree fsopen fsmount socketpair socket fcntl pidfd_open memfd_create pipe2"
)
_MOUNTS = "open_tree fsopen fsconfig fsmount move_mount mount_setattr"
_CAN_FAIL: dict[int, str] = {
    errno.ENOMEM: f"{_PATHS} {_MOUNTS} {_WRITES} read getdents64 recvmsg mmap mremap mprotect "
    "clone3 setns unshare socketpair socket pidfd_open keyctl capset setgroups wait4",
    errno.EMFILE: f"{_NEW_FDS} clone3",
    errno.EINTR: f"openat openat2 {_READS} {_WRITES} wait4 rt_sigtimedwait",
    errno.ENOSPC: "write mkdir mkdirat mknodat symlinkat rename clone3 unshare move_mount openat",
    errno.EIO: f"read write {_PATHS} getdents64 fsconfig ioctl",
    errno.EAGAIN: "clone3 setuid setgid",
    errno.EPERM: "setgroups setgid setuid capset prctl sched_setaffinity setsid prlimit64",
    errno.ENOLCK: "fcntl",
}
ERRNOS: dict[str, list[int]] = {}
for _errno, _names in _CAN_FAIL.items():
    for _name in _names.split():
        ERRNOS.setdefault(_name, []).append(_errno)


def points(calls: Sequence[Call]) -> list[tuple[Call, int]]:
    """List each call that can fail with each errno it can give.

    Of a call that is made again and again in a row (prctl for each capability) only some. Not
    those of the dynamic loader, up to its last one in each program: without memory it may crash.
    """
    found = []
    is_loading = True
    for call in calls:
        if call.process == 0 and (is_loading or call.name.startswith("execve")):
            is_loading = call.name != "prlimit64"
            if not call.name.startswith("execve"):
                continue
        if call.name == "prctl" and call.nth % 20:
            continue
        found += [(call, number) for number in ERRNOS.get(call.name, ())]
    return found


def at(point: Call, errno_or_kill: int) -> Decide:
    """Let one call fail, or be the last thing its process does."""
    return lambda call: errno_or_kill if call == point else 0


def check_words(result: Result, story: str) -> None:
    """Be sure that a failure was said in a sentence, and that nothing reads like a bug of ours."""
    for word in ("Traceback", "internal error", "please report", "ProtocolError"):
        assert word not in result.said, f"{word!r}: {story}"
    if result.status:
        sentence = result.stderr.strip()
        assert sentence, f"failed without a word: {story}"
        for prefix in ("ocirun create failed: ", "ocirun run failed: ", "exec failed: "):
            sentence = sentence.removeprefix(prefix)
        assert ": " in sentence or "container" in sentence, f"what about is not said: {story}"
