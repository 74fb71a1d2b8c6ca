"""Containers whose probe makes system calls by number, below a seccomp profile."""

from __future__ import annotations

import json
from typing import Any

import pytest

from harness.box import Box
from harness.bundle import Bundle

# fmt: off
NUMBERS = {
    "read": 0, "close": 3, "getpid": 39, "execve": 59, "mkdir": 83, "personality": 135,
    "sched_get_priority_max": 146, "sched_get_priority_min": 147, "unshare": 272,
    "getrandom": 318, "statx": 332, "clone3": 435, "newest": 600,
}
# fmt: on
OURS = 99  # an errno no call gives by itself
IDLE = "sched_get_priority_min"  # a call that no runtime makes
NNP = pytest.mark.parametrize("nnp", [True, False], ids=["nnp", "no-nnp"])


def profile(*rules: dict[str, Any], **keys: Any) -> dict[str, Any]:  # noqa: ANN401
    return {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": list(rules), **keys}


def refuse(*names: str, errno: int | None = OURS, **keys: Any) -> dict[str, Any]:  # noqa: ANN401
    rule = {"names": list(names), "action": "SCMP_ACT_ERRNO", **keys}
    return rule if errno is None else rule | {"errnoRet": errno}


def filtered(box: Box, seccomp: dict[str, Any], *calls: str, nnp: bool = True) -> Bundle:
    bundle = box.bundle("/probe", "call", *(numbered(call) for call in calls), noNewPrivileges=nnp)
    bundle.linux["seccomp"] = seccomp
    return bundle


def numbered(call: str) -> str:
    name, comma, rest = call.partition(",")
    return f"{NUMBERS.get(name, name)}{comma}{rest}"


def answers(box: Box, seccomp: dict[str, Any], *calls: str, nnp: bool = True) -> list[int]:
    """0 or the errno of each "NAME,ARGUMENT…"."""
    result: list[int] = json.loads(box.output(filtered(box, seccomp, *calls, nnp=nnp)))
    return result
