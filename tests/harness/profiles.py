"""Default seccomp profiles of clients, made from tables of what they allow.

The captured one of podman (tests/data/configs/seccomp.json) is the common ground; Docker's and
containerd's are told by what they have more and less, for x86_64 and a container without
CAP_SYS_ADMIN.

Source: moby profiles/seccomp/default.json; containerd contrib/seccomp/seccomp_default.go.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

PODMAN = Path(__file__).parents[1] / "data" / "configs" / "seccomp.json"
ARCHITECTURES = ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]

# What podman allows anybody and the others do not: some for a capability only, some not at all.
PODMAN_ONLY = """
    chroot clone clone3 fsconfig fsmount fsopen fspick get_mempolicy keyctl mbind mount
    mount_setattr move_mount open_tree pidfd_getfd pivot_root readdir reboot set_mempolicy setns
    sigaction signal sigpending sigsuspend socket syscall syslog timerfd umount umount2 unshare
"""
OTHERS_ONLY = "futex_waitv io_pgetevents io_pgetevents_time64 vmsplice"
DOCKER_ONLY = "io_uring_enter io_uring_register io_uring_setup"

AF_VSOCK = 40
CLONE_NEW = 0x7E020000  # every kind of namespace
PERSONALITIES = (0x0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF)


def podman() -> dict[str, Any]:
    """What podman 4.3 gives a container without options."""
    profile: dict[str, Any] = json.loads(PODMAN.read_text())
    return profile


def containerd(*capabilities: str) -> dict[str, Any]:
    """What containerd 2 gives a container with these capabilities."""
    return _default("", {"CAP_SYS_CHROOT": "chroot"}, capabilities)


def docker(*capabilities: str) -> dict[str, Any]:
    """What Docker gives a container with these capabilities."""
    profile = _default(DOCKER_ONLY, {"CAP_SYS_CHROOT": "chroot"}, capabilities)
    return profile | {"defaultErrnoRet": 1}


def _default(
    more: str, by_capability: dict[str, str], capabilities: tuple[str, ...]
) -> dict[str, Any]:
    names = {
        name
        for rule in podman()["syscalls"]
        if rule["action"] == "SCMP_ACT_ALLOW" and not rule.get("args")
        for name in rule["names"]
    }
    names -= set(PODMAN_ONLY.split())
    names |= {*OTHERS_ONLY.split(), *more.split()}
    names |= {by_capability[name] for name in capabilities if name in by_capability}
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "architectures": ARCHITECTURES,
        "syscalls": [
            allow(*sorted(names)),
            allow("socket", args=[compared(0, "NE", AF_VSOCK)]),
            *(allow("personality", args=[compared(0, "EQ", word)]) for word in PERSONALITIES),
            allow("clone", args=[compared(0, "MASKED_EQ", CLONE_NEW)]),
            {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38},
        ],
    }


def allow(*names: str, **keys: Any) -> dict[str, Any]:  # noqa: ANN401
    """A rule that allows."""
    return {"names": list(names), "action": "SCMP_ACT_ALLOW", **keys}


def compared(index: int, operator: str, value: int, two: int = 0) -> dict[str, Any]:
    """A condition."""
    return {"index": index, "op": f"SCMP_CMP_{operator}", "value": value, "valueTwo": two}
