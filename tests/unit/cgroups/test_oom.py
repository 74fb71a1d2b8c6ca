"""Being told that memory ran out, with files and descriptors that pass for the kernel's."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ocirun.cgroups import oom
from ocirun.cgroups.oom import watch
from ocirun.errors import SetupError


def events(directory: Path, kills: int, limits: int = 0) -> None:
    (directory / "memory.events").write_text(f"low 0\nmax {limits}\noom 0\noom_kill {kills}\n")


def test_v2_tells_each_new_kill_once(tmp_path: Path) -> None:
    events(tmp_path, 3)
    found = watch({"": str(tmp_path)})
    assert found is not None
    assert not found.news()  # those before do not count
    events(tmp_path, 3, limits=9)
    assert not found.news()
    events(tmp_path, 5, limits=9)
    assert (found.news(), found.news()) == (True, False)
    (tmp_path / "memory.events").unlink()
    assert not found.news()
    found.close()


def test_v2_counts_even_when_nothing_was_signalled(tmp_path: Path) -> None:
    """The kernel signals a moment after it counts; the end of the container may come between."""
    events(tmp_path, 0)
    found = watch({"": str(tmp_path)})
    assert found is not None
    (tmp_path / "new").write_text("oom_kill 1\n")
    (tmp_path / "new").rename(tmp_path / "memory.events")  # another inode: inotify says nothing
    assert found.news()
    found.close()


def test_v1_registers_and_reads_its_eventfd(tmp_path: Path) -> None:
    (tmp_path / "memory.oom_control").write_text("oom_kill_disable 0\n")
    (tmp_path / "cgroup.event_control").write_text("")
    found = watch({"memory": str(tmp_path), "": "/nonexistent"})
    assert found is not None
    number, control = (tmp_path / "cgroup.event_control").read_text().split()
    assert int(number) == found.fd
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(int(control))  # the kernel needs it only while it is told
    assert not found.news()
    os.eventfd_write(found.fd, 2)
    assert (found.news(), found.news()) == (True, False)
    (tmp_path / "memory.oom_control").unlink()
    os.eventfd_write(found.fd, 1)  # so the kernel tells that the cgroup is removed
    assert not found.news()
    found.close()


@pytest.mark.parametrize("paths", [{}, {"": ""}, {"": "/nonexistent"}, {"pids": "/nonexistent"}])
def test_without_a_memory_controller_there_is_nothing_to_watch(paths: dict[str, str]) -> None:
    assert watch(paths) is None


def test_a_refusal_is_told_and_leaves_no_descriptor(tmp_path: Path) -> None:
    (tmp_path / "memory.oom_control").write_text("")
    (tmp_path / "cgroup.event_control").mkdir()
    before = sorted(os.listdir("/proc/self/fd"))
    with pytest.raises(SetupError, match=r"watching .*oom_control: is a directory"):
        watch({"memory": str(tmp_path)})
    (tmp_path / "cgroup.event_control").rmdir()
    assert watch({"memory": str(tmp_path)}) is None  # it went away meanwhile
    assert sorted(os.listdir("/proc/self/fd")) == before


def test_a_refused_inotify_leaves_no_descriptor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events(tmp_path, 0)
    before = sorted(os.listdir("/proc/self/fd"))
    monkeypatch.setattr(oom, "has_file", lambda *_: True)
    assert watch({"": str(tmp_path / "gone")}) is None
    assert sorted(os.listdir("/proc/self/fd")) == before
