"""A process as a frame: what the guest's program makes of `process`, and of the filter.

guest/fields.c reads it.

Source: docs/vm.md#configuration; runtime-spec config.md#process.
"""

from __future__ import annotations

import os

from ocirun.engines.vm import frames
from ocirun.process.environment import environment
from ocirun.process.rlimits import limits_of
from ocirun.spec.capabilities import CAPABILITIES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    from ocirun.spec.types import Personality, Process

TERMINAL, NO_NEW_PRIVILEGES, HAS_CAPABILITIES, HAS_UMASK, HAS_OOM_SCORE = 1, 2, 4, 8, 16
HAS_IO_PRIORITY, HAS_FILTER, HAS_SCHEDULER, HAS_PERSONALITY = 32, 64, 128, 256
CAPABILITY_SETS: Final = ("bounding", "effective", "inheritable", "permitted", "ambient")
OOM_SCORE_BASE: Final = 1000
UNSIGNED: Final = (1 << 32) - 1


def program_payload(
    process: Process,
    rootfs: str,
    seccomp: dict[str, Any] | None = None,
    personality: Personality | None = None,
) -> bytes:
    """Return the payload of the frame of a process.

    `rootfs` is where its passwd is; `seccomp` is what prepare_filter has made: the guest is of the
    same architecture.
    """
    user = process["user"]
    root_fd = os.open(rootfs, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        variables = environment(process.get("env") or [], root_fd, user["uid"])
    finally:
        os.close(root_fd)
    env = [os.fsdecode(name + b"=" + value) for name, value in variables.items()]
    capabilities, size = process.get("capabilities"), process.get("consoleSize")
    flags = TERMINAL if process.get("terminal") else 0
    flags |= NO_NEW_PRIVILEGES if process.get("noNewPrivileges") else 0
    flags |= HAS_CAPABILITIES if capabilities is not None else 0
    flags |= HAS_UMASK if "umask" in user else 0
    flags |= HAS_OOM_SCORE if "oomScoreAdj" in process else 0
    flags |= HAS_IO_PRIORITY if "ioPriority" in process else 0
    flags |= HAS_FILTER if seccomp else 0
    flags |= HAS_SCHEDULER if "scheduler" in process else 0
    flags |= HAS_PERSONALITY if personality else 0
    rows, columns = (min(size[k], 0xFFFF) for k in ("height", "width")) if size else (0, 0)
    score = process.get("oomScoreAdj", 0) + OOM_SCORE_BASE
    numbers = (
        *(flags, user["uid"], user["gid"], user.get("umask", 0), score),
        *(_io_priority(process), _persona(personality), rows, columns),
    )
    groups = user.get("additionalGids") or []
    limits = limits_of(process.get("rlimits") or [])
    parts = [*(frames.u32(value) for value in numbers), _scheduler(process)]
    for name in CAPABILITY_SETS:
        words: list[str] = dict(capabilities or {}).get(name) or []  # type: ignore[assignment]
        parts.append(frames.u64(sum(1 << CAPABILITIES[word] for word in set(words))))
    parts += [frames.u32(len(groups)), *(frames.u32(gid) for gid in groups)]
    parts.append(frames.u32(len(limits)))
    for resource, soft, hard in limits:
        parts.append(frames.u32(resource) + frames.u64(soft) + frames.u64(hard))
    parts.append(_filter(seccomp or {"program": "", "flags": 0}))
    parts.append(frames.text(process["cwd"]))
    for words in (process["args"], env):
        parts += [frames.u32(len(words)), *(frames.text(word) for word in words)]
    return b"".join(parts)


def _filter(seccomp: dict[str, Any]) -> bytes:
    program = bytes.fromhex(seccomp["program"])
    return frames.u32(seccomp["flags"]) + frames.u32(len(program)) + program


def _io_priority(process: Process) -> int:
    """Return the priority for ioprio_set(2), 0 if none is configured."""
    if "ioPriority" not in process:
        return 0
    from ocirun.kernel.ioprio_set import IOPRIO_CLASS_SHIFT  # cold
    from ocirun.process.steps.scheduling import IO_CLASSES

    wanted = process["ioPriority"]
    return IO_CLASSES[wanted["class"]] << IOPRIO_CLASS_SHIFT | wanted.get("priority", 0)


def _persona(personality: Personality | None) -> int:
    """Return the persona for personality(2), 0 if none is configured."""
    if not personality:
        return 0
    from ocirun.process.steps.scheduling import DOMAINS  # cold

    return DOMAINS[personality["domain"]]


def _scheduler(process: Process) -> bytes:
    """Return the fields of struct sched_attr, all 0 if no policy is configured."""
    if "scheduler" not in process:
        return bytes(40)
    from ocirun.process.steps.scheduling import POLICIES, SCHED_FLAGS  # cold

    wanted = process["scheduler"]
    flags = sum(SCHED_FLAGS[name] for name in set(wanted.get("flags") or ()))
    # Two's complement: which values are right is the kernel's to say.
    nice, priority = (wanted.get("nice", 0) & UNSIGNED, wanted.get("priority", 0) & UNSIGNED)
    small = (POLICIES[wanted["policy"]], flags, nice, priority)
    large = (wanted.get("runtime", 0), wanted.get("deadline", 0), wanted.get("period", 0))
    return b"".join([*map(frames.u32, small), *map(frames.u64, large)])
