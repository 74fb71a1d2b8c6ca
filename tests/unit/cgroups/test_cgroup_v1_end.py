"""Freezing, killing and removing a cgroup on v1, without a kernel."""

from __future__ import annotations

import os
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
