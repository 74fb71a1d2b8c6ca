"""Trees that a hostile program has made: setuid programs and device nodes are looked for there."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ocirun.audit import tree
from ocirun.audit.facts import Programs, nodes_of


@pytest.fixture
def root_fd(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    yield fd
    os.close(fd)


def setuid_files(root_fd: int) -> tuple[list[str], bool]:
    found = Programs(root_fd, {0})
    return found.setuid, found.whole


def program(path: Path, mode: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    path.chmod(mode)


def test_programs_with_a_bit_are_found(tmp_path: Path, root_fd: int) -> None:
    program(tmp_path / "su", 0o4755)
    program(tmp_path / "usr/bin/wall", 0o2755)
    program(tmp_path / "usr/bin/ls", 0o755)
    program(tmp_path / "usr/share/no-program", 0o4644)
    assert setuid_files(root_fd) == (["/su", "/usr/bin/wall"], True)


def test_no_link_is_followed(tmp_path: Path) -> None:
    program(tmp_path / "outside/su", 0o4755)
    (tmp_path / "root").mkdir()
    (tmp_path / "root/link").symlink_to(tmp_path / "outside")
    (tmp_path / "root/su").symlink_to(tmp_path / "outside/su")
    root_fd = os.open(tmp_path / "root", os.O_RDONLY | os.O_DIRECTORY)
    try:
        assert setuid_files(root_fd) == ([], True)
    finally:
        os.close(root_fd)


def test_a_tree_of_2000_levels_is_searched_as_far_as_it_is_bounded(
    tmp_path: Path, root_fd: int
) -> None:
    before = len(os.listdir("/proc/self/fd"))
    fds = [os.dup(root_fd)]
    try:
        for _ in range(2000):
            os.mkdir("dev", dir_fd=fds[-1])
            fds.append(os.open("dev", os.O_RDONLY | os.O_DIRECTORY, dir_fd=fds[-1]))
            os.close(fds.pop(-2))
    finally:
        os.close(fds[-1])
    try:
        assert setuid_files(root_fd) == ([], False)
        assert nodes_of(root_fd, {}) == []
    finally:
        # pytest would recurse into it.
        subprocess.run(["rm", "-r", "--one-file-system", str(tmp_path / "dev")], check=True)
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_folder_that_becomes_a_fifo_or_a_link_is_not_opened(
    tmp_path: Path, root_fd: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is exchanged between the listing and the open."""
    program(tmp_path / "outside/su", 0o4755)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "outside")

    def listed(_tree: tree.Tree, _fd: int, path: str, folders: list[str]) -> Iterator[tree.Entry]:
        folders += ["pipe", "link"] if not path else []
        yield from ()

    monkeypatch.setattr(tree.Tree, "_entries", listed)
    fds_before = os.listdir("/proc/self/fd")
    assert setuid_files(root_fd) == ([], True)
    assert os.listdir("/proc/self/fd") == fds_before


def test_the_time_is_limited(tmp_path: Path, root_fd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path / "su", 0o4755)
    monkeypatch.setattr(tree, "SECONDS", 0.0)
    assert setuid_files(root_fd)[1] is False


NET_RAW = {2: "01000002 00200000 00000000 00000000 00000000",
           3: "01000003 00200000 00000000 00000000 00000000 a0860100"}  # fmt: skip


@pytest.mark.skipif(os.geteuid() != 0, reason="not root")
def test_file_capabilities_are_those_of_a_root_that_counts(tmp_path: Path, root_fd: int) -> None:
    """Those of version 3 are of the user namespace whose root is uid 100000 on the host."""
    for version, data in NET_RAW.items():
        program(tmp_path / f"v{version}", 0o755)
        os.setxattr(tmp_path / f"v{version}", "security.capability", bytes.fromhex(data))
    program(tmp_path / "no-program", 0o644)
    os.setxattr(tmp_path / "no-program", "security.capability", bytes.fromhex(NET_RAW[2]))
    (tmp_path / "link").symlink_to("v2")
    gets = frozenset({"CAP_NET_RAW"})
    assert Programs(root_fd, {0}).capable == {"/v2": gets}
    assert Programs(root_fd, {0, 100000}).capable == {"/v2": gets, "/v3": gets}
    assert Programs(root_fd, {0}).setuid == []
