"""Limits beyond those of the caller: what takes CAP_SYS_RESOURCE, which few machines leave us.

Source: runtime-spec config.md#posix-process, rlimits and oomScoreAdj; setrlimit(2), proc(5).
"""

from __future__ import annotations

import json
import resource
from collections.abc import Callable
from errno import EPERM
from pathlib import Path
from typing import Any

import pytest
from harness.box import Box
from harness.needs import needs
from harness.peers import peer_deviates

pytestmark = needs("root", "CAP_SYS_RESOURCE")

BIG = 1 << 19
LOW = 1000
SETS = ("bounding", "effective", "permitted", "inheritable", "ambient")
# What each may be raised to without the kernel's own ceiling in the way.
RAISED = {
    "RLIMIT_NOFILE": BIG,
    "RLIMIT_NPROC": BIG,
    "RLIMIT_CORE": BIG,
    "RLIMIT_MEMLOCK": BIG << 10,
    "RLIMIT_SIGPENDING": BIG,
    "RLIMIT_MSGQUEUE": BIG << 4,
    "RLIMIT_NICE": 40,
    "RLIMIT_RTPRIO": 99,
}


def lower(*kinds: str) -> Callable[[], None]:
    """For Popen's preexec_fn: a caller with less than it will give."""

    def act() -> None:
        for kind in kinds:
            limit = 0 if kind in ("RLIMIT_NICE", "RLIMIT_RTPRIO") else LOW
            resource.setrlimit(getattr(resource, kind), (limit, limit))

    return act


def seen(box: Box, *flags: str, **process: Any) -> dict[str, Any]:  # noqa: ANN401
    """What the program of a container sees whose caller has low limits."""
    container = box.container(None, **process)
    call = container.run(*flags, preexec_fn=lower("RLIMIT_NOFILE", "RLIMIT_NPROC"))
    report: dict[str, Any] = json.loads(call.ok().stdout)
    return report


@pytest.mark.parametrize("kind", RAISED)
def test_each_is_raised(box: Box, kind: str) -> None:
    value = RAISED[kind]
    container = box.container(None, rlimits=[{"type": kind, "soft": value - 1, "hard": value}])
    report = container.run(preexec_fn=lower(kind)).ok().json()
    assert report["rlimits"][kind.removeprefix("RLIMIT_")] == [value - 1, value]


def test_all_at_once_and_what_is_absent_stays(box: Box) -> None:
    report = seen(box, rlimits=[{"type": "RLIMIT_NPROC", "soft": BIG, "hard": BIG}])
    assert report["rlimits"]["NPROC"] == [BIG, BIG]
    assert report["rlimits"]["NOFILE"] == [LOW, LOW]


def test_for_a_program_without_rights(box: Box) -> None:
    """The limit is the caller's to give; the program needs no capability to have it."""
    none: dict[str, list[str]] = {name: [] for name in SETS}
    rlimits = [{"type": "RLIMIT_NOFILE", "soft": BIG, "hard": BIG}]
    user = {"uid": 1000, "gid": 1000}
    report = seen(box, rlimits=rlimits, capabilities=none, user=user, noNewPrivileges=True)
    assert report["rlimits"]["NOFILE"] == [BIG, BIG]


def test_in_a_user_namespace(box: Box) -> None:
    """Where init itself has no say over limits any more."""
    bundle = box.bundle(rlimits=[{"type": "RLIMIT_NOFILE", "soft": BIG, "hard": BIG}])
    bundle.use_userns((0, 100000, 65536))
    report = box.container(bundle).run(preexec_fn=lower("RLIMIT_NOFILE")).ok().json()
    assert report["rlimits"]["NOFILE"] == [BIG, BIG]


def test_exec_raises_too(box: Box) -> None:
    container = box.running()
    rlimits = [{"type": "RLIMIT_NOFILE", "soft": BIG, "hard": BIG}]
    process = container.bundle.process | {"args": ["/probe"], "rlimits": rlimits}
    call = container.exec_process(process, preexec_fn=lower("RLIMIT_NOFILE"))
    assert call.ok().json()["rlimits"]["NOFILE"] == [BIG, BIG]


def test_beyond_the_kernels_ceiling_is_an_error(box: Box) -> None:
    """fs.nr_open bounds even root; a container with less than it was promised is none."""
    ceiling = int(Path("/proc/sys/fs/nr_open").read_text()) + 1
    rlimits = [{"type": "RLIMIT_NOFILE", "soft": ceiling, "hard": ceiling}]
    container = box.container(None, rlimits=rlimits)
    container.create().failed()
    if box.runtime.name == "ours":
        container.create().failed("RLIMIT_NOFILE")
    assert not (box.runtime.root / container.id).exists()


@pytest.mark.parametrize("value", [-1000, -500, 0])
def test_the_oom_score_is_lowered(box: Box, value: int) -> None:
    def become_likely() -> None:
        Path("/proc/self/oom_score_adj").write_text("300")

    container = box.container(None, oomScoreAdj=value)
    assert container.run(preexec_fn=become_likely).ok().json()["oom_score_adj"] == value


@peer_deviates("runc", "1.1 does not look at it", sometimes=True)
def test_the_oom_score_is_lowered_by_exec(box: Box) -> None:
    container = box.running(oomScoreAdj=100)
    process = container.bundle.process | {"args": ["/probe"], "oomScoreAdj": -100}
    assert container.exec_process(process).ok().json()["oom_score_adj"] == -100


def test_an_oom_score_that_the_container_cannot_lower_again(box: Box) -> None:
    """Without the capability inside, what was given is the floor."""
    bundle = box.bundle(oomScoreAdj=200)
    bundle.process["args"] = ["sh", "-c", "echo 100 > /proc/self/oom_score_adj"]
    bundle.process["capabilities"] = {name: [] for name in SETS[:3]}
    call = box.container(bundle).run()
    assert call.status != 0
    assert "ermission denied" in call.stderr or f"error {EPERM}" in call.stderr
