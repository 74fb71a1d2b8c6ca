"""A profile that denies one system call of the kernel's table: the runtime gets past it.

Of the calls that the runtime makes itself after the filter is loaded, only those may stop a
container that stop runc as well. `make bars` denies every call, other runs a sample.

Source: seccomp(2); runtime-spec config-linux.md#seccomp.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from harness import bars
from harness.box import Box
from harness.faults import name_of
from harness.filtered import NNP

PROGRAM = ("/probe", "call", "39")  # getpid, and nothing that it would have to read
NEWEST = 471  # Linux 6.18 has no number beyond
# What runc 1.1 itself cannot do without once the filter is loaded (futex: now and then), and what a
# static program needs to begin with. Without no_new_privs the filter is loaded before the user's
# rights are taken.
STOP_RUNC = {
    True: "arch_prctl close execve fstatfs futex getdents64 mprotect openat write",
    False: (
        "arch_prctl capget capset chdir close execve fstat fstatfs futex getcwd getdents64 getppid"
        " mprotect newfstatat openat prctl read setgid setgroups setuid write"
    ),
}


def calls() -> list[str]:
    names = (name_of(number) for number in range(NEWEST))
    return [name for name in names if not name.startswith("#")]


def denying(name: str) -> dict[str, Any]:
    rule = {"names": [name], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}
    return {
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [rule],
    }


@NNP
def test_only_calls_that_stop_runc_stop_a_container(box: Box, nnp: bool) -> None:
    """Create, start, exec; what the program does without its call is its own affair."""
    limits = [{"type": "RLIMIT_NOFILE", "soft": 512, "hard": 512}]
    asked = sorted(set(calls()) - set(STOP_RUNC[nnp].split()))
    assert len(asked) > 300
    stopped = {}
    for name in bars.sample(asked, 12, f"denied-{nnp}"):
        bundle = box.bundle("/probe", "wait", noNewPrivileges=nnp, rlimits=limits)
        bundle.linux["seccomp"] = denying(name)
        container = box.container(bundle)
        for verb in (container.create, container.start, partial(container.exec, *PROGRAM)):
            result = verb()
            if result.status:
                stopped[name] = result.said
        container.delete("--force").ok()
    assert stopped == {}


def test_exec_goes_on_where_read_is_denied(box: Box) -> None:
    """It waits for its parent's word without reading it."""
    bundle = box.bundle("/probe", "wait", noNewPrivileges=True)
    bundle.linux["seccomp"] = denying("read")
    container = box.created(bundle)
    container.start().ok()
    container.exec(*PROGRAM).ok()
