"""Freezing, killing and removing a cgroup on v1, without a kernel."""

from __future__ import annotations

import os
import signal
import subprocess
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from ocirun.errors import SetupError

if TYPE_CHECKING:
    from unit.cgroups.conftest import FakeKernel


def test_freeze_gives_up_and_thaws(kernel: FakeKernel, monkeypatch: pytest.MonkeyPatch) -> None:
    from ocirun.cgroups.v1 import freezer

    cgroup = kernel.made()
    monkeypatch.setattr(freezer, "_state", lambda _: "FREEZING")
    monkeypatch.setattr(freezer.time, "sleep", lambda _: None)
    with pytest.raises(SetupError, match="do not stand still"):
        cgroup.freeze()
    assert kernel.writes[-1][1] == "THAWED"


def test_kill_all_thaws_also_when_killing_fails(
    kernel: FakeKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ocirun.cgroups import kill as module

    def refuse(pid: int) -> None:
        raise SetupError(f"killing process {pid}: operation not permitted")

    cgroup = kernel.made()
    kernel.put(os.path.relpath(cgroup.paths["devices"], kernel.root) + "/cgroup.procs", "99\n")
    monkeypatch.setattr(module, "kill_one", refuse)
    with pytest.raises(SetupError, match="not permitted"):
        cgroup.kill_all()
    states = kernel.texts("freezer.state")
    assert states[0] == "FROZEN"
    assert states[-1] == "THAWED"


def test_thawing_below_takes_every_level(kernel: FakeKernel) -> None:
    cgroup = kernel.made("/a")
    assert not cgroup.thaw_below()
    freezer = cgroup.paths["freezer"]
    os.mkdir(f"{freezer}/x")
    os.mkdir(f"{freezer}/x/y")
    kernel.writes.clear()
    assert not cgroup.thaw_below()
    kernel.put(os.path.relpath(freezer, kernel.root) + "/x/y/freezer.state", "FREEZING\n")
    assert cgroup.thaw_below()
    assert not cgroup.thaw_below()
    cgroup.remove()
    assert not cgroup.thaw_below()


def test_remove_goes_depth_first_and_accepts_what_is_gone(kernel: FakeKernel) -> None:
    cgroup = kernel.made("/a")
    os.mkdir(cgroup.paths["memory"] + "/x")
    os.mkdir(cgroup.paths["memory"] + "/x/y")
    cgroup.remove()
    cgroup.remove()
    assert not any(os.path.exists(path) for path in cgroup.paths.values())


def test_remove_waits_for_the_dying_and_then_says_who_is_busy(
    kernel: FakeKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ocirun.cgroups import directories

    cgroup = kernel.made("/a")
    procs = os.path.relpath(cgroup.paths["pids"], kernel.root) + "/cgroup.procs"
    kernel.put(procs, "7\n")
    pauses: list[float] = []
    monkeypatch.setattr(directories.time, "sleep", pauses.append)
    with pytest.raises(SetupError, match=r"removing cgroup [^,]*/pids/a: device or resource busy"):
        cgroup.remove()
    assert {later / sooner for sooner, later in pairwise(pauses)} == {2.0}
    assert 0.5 < sum(pauses) < 2
    monkeypatch.setattr(directories.time, "sleep", lambda _: kernel.put(procs, ""))
    cgroup.remove()


def test_what_never_freezes_does_not_keep_anybody_waiting(
    kernel: FakeKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that waits for a FUSE file system cannot be frozen, and `state` waited for it."""
    from ocirun.cgroups.v1 import freezer

    monkeypatch.setattr(freezer, "SETTLE_S", 0.01)
    cgroup = kernel.made("/a")
    kernel.put("freezer/a/freezer.state", "FREEZING\n")
    assert not cgroup.is_frozen()  # its parent is frozen
    kernel.put("freezer/a/freezer.self_freezing", "1\n")
    assert cgroup.is_frozen()


def test_a_pid_that_was_reused_is_not_signalled() -> None:
    """The pid is listed, its process ends, and a stranger has it before it is opened."""
    from ocirun.cgroups.kill import signal_each

    with subprocess.Popen(["sleep", "60"]) as stranger, subprocess.Popen(["sleep", "60"]) as member:
        try:
            lists = [[stranger.pid, member.pid], [member.pid]]
            signal_each(lambda: lists.pop(0), signal.SIGTERM)
            assert member.wait(10) == -signal.SIGTERM
            assert stranger.poll() is None
        finally:
            stranger.kill()
            member.kill()


def test_no_descriptors_are_left_of_those_that_are_signalled() -> None:
    from ocirun.cgroups.kill import PIDFDS_AT_ONCE, signal_each

    before = len(os.listdir("/proc/self/fd"))
    gone = subprocess.Popen(["true"])
    gone.wait()
    # Kernel: cgroup.procs of v1 may list a process twice.
    pids = [gone.pid, *[os.getpid()] * (PIDFDS_AT_ONCE + 1)]
    signal_each(lambda: pids, 0)
    assert len(os.listdir("/proc/self/fd")) == before
