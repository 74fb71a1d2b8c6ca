"""Scheduler, I/O priority, personality, memory policy: from words to the kernel's numbers."""
# ruff: noqa: ANN401  # whatever the recorded call was given

from __future__ import annotations

import errno
from typing import Any

import pytest

from ocirun.errors import SetupError
from ocirun.kernel import ioprio_set, personality, sched_setattr
from ocirun.kernel import set_mempolicy as mempolicy
from ocirun.process.steps import scheduling

Calls = list[tuple[Any, ...]]


class Recorder:
    """Stands for the compiled module: notes the calls, answers `result`."""

    def __init__(self, result: int = 0) -> None:
        self.calls: Calls = []
        self.result = result

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any) -> int:
            self.calls.append((name, *arguments))
            return self.result

        return call


@pytest.fixture
def lib(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    recorder = Recorder()
    for module in (sched_setattr, ioprio_set, personality, mempolicy):
        monkeypatch.setattr(module, "lib", recorder)
    return recorder


@pytest.mark.parametrize(
    ("scheduler", "arguments"),
    [
        ({"policy": "SCHED_OTHER", "nice": -5}, (48, 0, 0, -5, 0, 0, 0, 0)),
        ({"policy": "SCHED_FIFO", "priority": 10}, (48, 1, 0, 0, 10, 0, 0, 0)),
        ({"policy": "SCHED_RR", "priority": 99}, (48, 2, 0, 0, 99, 0, 0, 0)),
        ({"policy": "SCHED_BATCH", "nice": 19}, (48, 3, 0, 19, 0, 0, 0, 0)),
        ({"policy": "SCHED_ISO"}, (48, 4, 0, 0, 0, 0, 0, 0)),
        ({"policy": "SCHED_IDLE"}, (48, 5, 0, 0, 0, 0, 0, 0)),
        (
            {
                "policy": "SCHED_DEADLINE",
                "runtime": 2**62,
                "deadline": 2**62 + 1,
                "period": 2**63 - 1,
                "flags": ["SCHED_FLAG_RECLAIM", "SCHED_FLAG_DL_OVERRUN"],
            },
            (48, 6, 6, 0, 0, 2**62, 2**62 + 1, 2**63 - 1),
        ),
        (
            {"policy": "SCHED_OTHER", "flags": ["SCHED_FLAG_RESET_ON_FORK"]},
            (48, 0, 1, 0, 0, 0, 0, 0),
        ),
        (
            {
                "policy": "SCHED_OTHER",
                "flags": ["SCHED_FLAG_KEEP_POLICY", "SCHED_FLAG_KEEP_PARAMS"],
            },
            (48, 0, 0x18, 0, 0, 0, 0, 0),
        ),
        (
            {
                "policy": "SCHED_OTHER",
                "flags": ["SCHED_FLAG_UTIL_CLAMP_MIN", "SCHED_FLAG_UTIL_CLAMP_MAX"],
            },
            (56, 0, 0x60, 0, 0, 0, 0, 0),
        ),
    ],
)
def test_the_scheduler_is_passed_to_the_kernel(
    lib: Recorder, scheduler: Any, arguments: tuple[int, ...]
) -> None:
    scheduling.apply_scheduler(scheduler)
    assert lib.calls == [("sys_sched_setattr", *arguments)]


@pytest.mark.parametrize(
    ("policy", "number", "hint"),
    [
        ("SCHED_DEADLINE", errno.EINVAL, "1024 ns ≤ runtime ≤ deadline ≤ period"),
        ("SCHED_ISO", errno.EINVAL, "no Linux kernel has this policy"),
        ("SCHED_FIFO", errno.EPERM, "CAP_SYS_NICE"),
        ("SCHED_OTHER", errno.EPERM, "operation not permitted"),
    ],
)
def test_a_refused_scheduler_has_the_kernels_words_and_a_hint(
    monkeypatch: pytest.MonkeyPatch, policy: str, number: int, hint: str
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(number, {1: "Operation not permitted", 22: "Invalid argument"}[number])

    monkeypatch.setattr(scheduling.sched, "sched_setattr", refuse)
    with pytest.raises(SetupError) as caught:
        scheduling.apply_scheduler({"policy": policy})
    assert str(caught.value).startswith(f"setting the scheduling policy {policy}: ")
    assert hint in str(caught.value)
    assert caught.value.errno == number


@pytest.mark.parametrize(
    ("priority", "number"),
    [
        ({"class": "IOPRIO_CLASS_RT", "priority": 0}, 0x2000),
        ({"class": "IOPRIO_CLASS_BE", "priority": 7}, 0x4007),
        ({"class": "IOPRIO_CLASS_IDLE"}, 0x6000),
    ],
)
def test_the_io_priority_is_passed_to_the_kernel(lib: Recorder, priority: Any, number: int) -> None:
    scheduling.apply_io_priority(priority)
    assert lib.calls == [("sys_ioprio_set", 2, 0, number)]


@pytest.mark.parametrize(("domain", "number"), [("LINUX", 0), ("LINUX32", 8)])
def test_the_personality_is_passed_to_the_kernel(lib: Recorder, domain: str, number: int) -> None:
    scheduling.apply_personality({"domain": domain})
    assert lib.calls == [("personality", number)]


def test_a_memory_policy_has_as_many_words_as_its_nodes_need(lib: Recorder) -> None:
    scheduling.apply_memory_policy(
        {"mode": "MPOL_BIND", "nodes": "0-1,1500", "flags": ["MPOL_F_STATIC_NODES"]}
    )
    ((name, mode, nodes, maxnode),) = lib.calls
    assert (name, mode) == ("sys_set_mempolicy", 2 | 1 << 15)
    words = list(nodes)
    assert len(words) * 64 + 1 == maxnode
    assert {index: word for index, word in enumerate(words) if word} == {0: 3, 23: 1 << 28}


@pytest.mark.parametrize("mode", ["MPOL_DEFAULT", "MPOL_LOCAL", "MPOL_PREFERRED"])
def test_a_memory_policy_without_nodes_has_no_mask(lib: Recorder, mode: str) -> None:
    scheduling.apply_memory_policy({"mode": mode, "nodes": ""})
    ((_, number, nodes, maxnode),) = lib.calls
    assert number == {"MPOL_DEFAULT": 0, "MPOL_LOCAL": 4, "MPOL_PREFERRED": 1}[mode]
    assert not nodes
    assert maxnode == 0
