"""The private procfs of kernel/procfs.py on the real kernel, in forked children.

Source: CVE-2019-16884, CVE-2025-52881; docs/runc-compat/security.md#vulnerabilities.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from harness.inside import CLONE_NEWNET, CLONE_NEWPID, CLONE_NEWUTS, Crashed, inside
from harness.machine import libc_call

from ocirun.kernel.mount import (
    AT_FDCWD,
    OPEN_TREE_CLONE,
    fsconfig_create,
    fsmount,
    fsopen,
    move_mount,
    open_tree,
)
from ocirun.kernel.procfs import open_private_procfs, own_number, write_below, write_own

FORWARD = "sys/net/ipv4/ip_forward"
DOMAIN = "sys/kernel/domainname"


def cover(source: str, target: str) -> None:
    """Bind `source` on `target`."""
    tree_fd = open_tree(AT_FDCWD, source, OPEN_TREE_CLONE)
    target_fd = os.open(target, os.O_PATH | os.O_NOFOLLOW)
    move_mount(tree_fd, target_fd)


def tmpfs_on(target: str) -> None:
    fs_fd = fsopen("tmpfs")
    fsconfig_create(fs_fd)
    move_mount(fsmount(fs_fd, 0), os.open(target, os.O_PATH))


def read(path: str) -> str:
    with open(path) as file:
        return file.read().strip()


def test_what_covers_a_file_of_proc_is_not_written(tmp_path: Path) -> None:
    decoy = tmp_path / "decoy"
    decoy.write_text("untouched")

    def work() -> list[str]:
        cover(str(decoy), f"/proc/{FORWARD}")
        fd = open_private_procfs()
        write_below(fd, FORWARD, "1")
        libc_call("umount2", f"/proc/{FORWARD}".encode(), 2)
        return [decoy.read_text(), read(f"/proc/{FORWARD}")]

    assert inside(work, CLONE_NEWNET) == ["untouched", "1"]


def test_a_proc_that_is_something_else_does_not_matter() -> None:
    def work() -> str:
        tmpfs_on("/proc")
        fd = open_private_procfs()
        write_below(fd, FORWARD, "1")
        return own_number(fd)

    assert str(inside(work, CLONE_NEWNET)).isdigit()


def test_our_number_is_that_of_the_namespace_it_shows() -> None:
    """In a pid namespace of our own we are 1, whatever /proc outside says."""

    def work() -> list[object]:
        return [own_number(open_private_procfs()), os.getpid()]

    assert inside(work, CLONE_NEWPID) == ["1", 1]


def test_an_attribute_of_our_own_is_written() -> None:
    """A file every process has stands for attr/exec, which no LSM answers for here."""

    def work() -> str:
        write_own(open_private_procfs(), "comm", "renamed")
        return read("/proc/self/comm")

    assert inside(work) == "renamed"


def test_a_covered_proc_in_a_user_namespace_is_copied_and_its_covers_refused(
    tmp_path: Path,
) -> None:
    """The kernel lets no new procfs be mounted there: what is covered must stay so."""
    decoy = tmp_path / "decoy"
    decoy.write_text("untouched")

    def covered() -> object:
        cover(str(decoy), f"/proc/{DOMAIN}")
        decoy.chmod(0o666)

        def work() -> list[str]:
            fd = open_private_procfs()
            write_own(fd, "comm", "renamed")
            try:
                write_below(fd, DOMAIN, "example.org")
            except OSError as error:
                return [os.strerror(error.errno or 0), decoy.read_text(), read("/proc/self/comm")]
            return ["written"]

        return inside(work, CLONE_NEWUTS, root_of_userns=True)

    assert inside(covered) == ["Invalid cross-device link", "untouched", "renamed"]


def test_a_false_proc_in_a_user_namespace_is_refused() -> None:
    def work() -> int:
        tmpfs_on("/proc")
        return open_private_procfs()

    with pytest.raises(Crashed, match=r"PermissionError: .* '/proc'"):
        inside(work, root_of_userns=True)
