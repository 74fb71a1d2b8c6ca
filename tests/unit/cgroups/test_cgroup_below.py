"""Going through the cgroups that a container has made below its own, however many and deep."""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path

import pytest

from ocirun.cgroups.directories import directories_below, processes_below

LEVELS = 60
NAME = "n" * 200  # 60 of them are more than three times what a path may have


@pytest.fixture
def deep(tmp_path: Path) -> Generator[Path, None, None]:
    """A tree in which only descriptors lead to the end; two branches at each level."""
    top = tmp_path / "top"
    top.mkdir()
    fds = [os.open(top, os.O_RDONLY)]
    for _ in range(LEVELS):
        os.mkdir(NAME, dir_fd=fds[-1])
        os.mkdir("b", dir_fd=fds[-1])
        fds.append(os.open(NAME, os.O_RDONLY, dir_fd=fds[-1]))
    yield top
    for fd in reversed(fds):
        for name in os.listdir(fd):
            os.rmdir(name, dir_fd=fd)
        os.close(fd)


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_every_cgroup_is_found_and_can_be_reached(deep: Path) -> None:
    before = open_descriptors()
    places = [os.stat(path).st_ino for path in directories_below(str(deep))]
    assert len(places) == len(set(places)) == 2 * LEVELS
    assert open_descriptors() == before


def test_parents_come_first_or_last(deep: Path) -> None:
    down = [os.stat(path).st_ino for path in directories_below(str(deep))]
    up = [os.stat(path).st_ino for path in directories_below(str(deep), deepest_first=True)]
    assert sorted(up) == sorted(down)
    parents = {
        os.stat(path).st_ino: os.stat(f"{path}/..").st_ino for path in directories_below(str(deep))
    }
    for order in (down, up[::-1]):
        seen = {os.stat(deep).st_ino}
        for place in order:
            assert parents[place] in seen
            seen.add(place)


def test_who_stops_early_leaves_nothing_open(deep: Path) -> None:
    before = open_descriptors()
    below = directories_below(str(deep), deepest_first=True)
    next(below)
    assert open_descriptors() > before
    below.close()  # type: ignore[attr-defined]  # a generator
    assert open_descriptors() == before


def test_processes_of_all_are_told(deep: Path) -> None:
    expected = []
    for pid, path in enumerate(directories_below(str(deep)), 1):
        if path.endswith("/b"):
            Path(path, "cgroup.procs").write_text(f"{pid}\n")
            expected.append(pid)
    try:
        assert sorted(processes_below(str(deep))) == expected
    finally:
        for path in directories_below(str(deep)):
            Path(path, "cgroup.procs").unlink(missing_ok=True)
