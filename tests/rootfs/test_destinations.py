"""Where a mount may go: runtime-spec config.md#mounts, destination; links, races, /proc."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from typing import TYPE_CHECKING

import pytest
from harness.inside import (
    CLONE_NEWNET,
    CLONE_NEWPID,
    Refused,
    do,
    inside,
    mounted,
    mounts,
)

from ocirun.rootfs.mounts import mount_entry

if TYPE_CHECKING:
    from pathlib import Path


def test_a_destination_through_a_link_stays_inside(root: Path) -> None:
    outside = root.parent / "outside"
    (root / "link").symlink_to(outside)
    (root / "up").symlink_to("../../../outside")

    def work() -> object:
        do(
            root,
            {"destination": "/link/deep", "type": "tmpfs", "source": "tmpfs"},
            {"destination": "/up", "type": "tmpfs", "source": "tmpfs"},
            {"destination": "/up2/file", "source": "/etc/hostname", "options": ["bind"]},
        )
        return sorted(mounts(str(root))), os.listdir(outside)

    places, left = inside(work)  # type: ignore[misc]
    assert places == sorted(["/", f"{outside}/deep", "/outside", "/up2/file"])
    assert left == []


def test_a_directory_exchanged_for_a_link_gains_nothing(root: Path) -> None:
    """CVE-2021-30465, CVE-2024-45310: half the time the parent of the mounts is a link."""
    outside = root.parent / "outside"
    (root / "vol" / "dir").mkdir(parents=True)
    (root / "vol" / "link").symlink_to(f"../../{'../' * 20}{str(outside)[1:]}")
    rounds = 300

    def work() -> object:
        root_fd, context = do(root)
        swapper = os.fork()
        if swapper == 0:
            exchange_forever(root / "vol" / "dir", root / "vol" / "link")
        refused = escaped = 0
        try:
            for number in range(rounds):
                entry = {"destination": f"/vol/dir/new{number}", "type": "tmpfs"}
                if number % 2:
                    entry = {
                        "destination": f"/vol/dir/file{number}",
                        "source": "/etc/hostname",
                        "options": ["bind"],
                    }
                try:
                    mount_entry(root_fd, entry, context)
                except Exception:  # noqa: BLE001  # a lost race may fail, never leave the root
                    refused += 1
            escaped = sum(place.startswith(str(outside)) for place in mounts())
        finally:
            os.kill(swapper, signal.SIGKILL)
            os.waitpid(swapper, 0)
        return refused, escaped, len(mounts(str(root)))

    refused, escaped, made = inside(work)  # type: ignore[misc]
    assert escaped == 0
    assert os.listdir(outside) == []
    assert made + refused >= rounds
    assert refused < rounds / 2


def exchange_forever(one: Path, other: Path) -> None:
    """Swap two names as fast as it goes, for as long as the parent lives but half a minute."""
    renameat2 = ctypes.CDLL(None).renameat2
    end = time.monotonic() + 30
    while time.monotonic() < end:
        for _ in range(100):
            renameat2(-100, os.fsencode(one), -100, os.fsencode(other), 2)
    os._exit(0)


def test_nothing_may_cover_the_root(root: Path) -> None:
    (root / "self").symlink_to("/")
    for destination in ("/", "/self", "/x/.."):
        with pytest.raises(Refused, match="is on the top of rootfs"):
            inside(lambda where=destination: do(root, {"destination": where, "type": "tmpfs"}))


@pytest.mark.parametrize("fs_name", ["proc", "sysfs"])
def test_proc_and_sysfs_want_an_ordinary_directory(root: Path, fs_name: str) -> None:
    """CVE-2019-19921, CVE-2023-27561."""
    (root / "elsewhere" / "place").mkdir(parents=True)
    (root / "place").symlink_to("elsewhere/place")
    (root / "way").symlink_to("elsewhere")
    (root / "file").touch()
    words = f'filesystem "{fs_name}" must be mounted on ordinary directory'
    for destination in ("/place", "/way/place", "/way/new", "/file"):
        entry = {"destination": destination, "type": fs_name, "source": fs_name}
        with pytest.raises(Refused, match=words):
            inside(lambda one=entry: do(root, one), CLONE_NEWPID | CLONE_NEWNET)


def test_the_rules_of_proc(root: Path) -> None:
    """CVE-2019-16884: only a procfs is /proc, and only the files of lxcfs lie below it."""
    (root / "alias").symlink_to("/proc")
    (root / "inner").symlink_to("/proc/sys")
    proc = {"destination": "/proc", "type": "proc", "source": "proc"}
    lxcfs = {"destination": "/proc/uptime", "source": "/etc/hostname", "options": ["bind"]}
    again = {"destination": "/proc", "source": "/proc", "options": ["rbind"]}
    assert mounted(root, proc, lxcfs, at="/proc/uptime", namespaces=CLONE_NEWPID)
    assert mounted(root, again, at="/proc")["type"] == "proc"
    for entries, words in (
        ([{"destination": "/proc", "type": "tmpfs"}], "is not of type proc"),
        ([{"destination": "/proc", "source": "/etc", "options": ["bind"]}], "not of type proc"),
        ([proc, {"destination": "/proc/sys", "type": "tmpfs"}], "is inside /proc"),
        ([proc, {"destination": "/inner", "type": "tmpfs"}], "is inside /proc"),
        ([{"destination": "/alias", "type": "tmpfs"}, proc], "is not of type proc"),
    ):
        (root / "proc").mkdir(exist_ok=True)
        with pytest.raises(Refused, match=words):
            inside(lambda all_of=entries: do(root, *all_of), CLONE_NEWPID)
