"""Mounts that fail, and what a user namespace forbids: runtime-spec config.md#mounts."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
from harness.inside import TMPFS, Refused, do, inside, mount_entry, mounts

from ocirun.rootfs.context import MountContext

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"type": "tmpfs", "options": ["size=lots"]}, "invalid argument .*(size|lots)"),
        ({"type": "tmpfs", "options": ["nonsense"]}, "Unknown parameter 'nonsense'"),
        ({"type": "nosuchfs"}, 'no such device .*knows no file system "nosuchfs"'),
        ({"type": "bind", "source": "/etc"}, 'no such device .*needs the option "bind" or "rbind"'),
        ({"source": "/does/not/exist", "options": ["bind"]}, "no such file or directory"),
        ({"source": "/etc/hostname", "options": ["bind"]}, "not a directory .*the other way round"),
        ({"type": "tmpfs", "uidMappings": [{}], "gidMappings": [{}]}, "only bind mounts"),
    ],
)
def test_a_failed_mount_says_what_and_why(root: Path, entry: dict[str, Any], words: str) -> None:
    (root / "t").mkdir()
    with pytest.raises(Refused, match=words):
        inside(lambda: do(root, {"destination": "/t", **entry}))


def test_a_user_namespace_without_a_network_cannot_mount_sysfs(root: Path) -> None:
    entry = {"destination": "/sys", "type": "sysfs", "source": "sysfs"}
    with pytest.raises(Refused, match=r"operation not permitted .*bind /sys instead"):
        inside(lambda: do(root, entry, userns=True), root_of_userns=True)


def test_locked_attributes_stay_in_a_user_namespace(root: Path) -> None:
    """The mount namespace is copied with its attributes locked."""

    def with_locks(options: list[str]) -> object:
        root_fd, _ = do(root, {**TMPFS, "options": ["nosuid", "nodev", "noatime"]})
        bind = {"destination": "/b", "source": f"{root}/t", "options": options}

        def work() -> object:
            mount_entry(root_fd_of(root), bind, MountContext(userns=True))
            return sorted(mounts(str(root))["/b"].options)

        os.close(root_fd)
        return inside(work, root_of_userns=True, propagate=False)

    kept = ["noatime", "nodev", "nosuid", "ro"]
    assert inside(lambda: with_locks(["bind", "ro"])) == kept
    assert inside(lambda: with_locks(["bind"])) == ["noatime", "nodev", "nosuid", "rw"]

    def refused() -> object:
        try:
            return with_locks(["bind", "suid"])
        except Refused as error:
            return str(error)

    assert "cannot clear locked flags MS_NOSUID: operation not permitted" in str(inside(refused))


def root_fd_of(root: Path) -> int:
    """The root as a child of a child finds it, through its own mount namespace."""
    return os.open(root, os.O_PATH | os.O_DIRECTORY)


def test_no_descriptor_is_left_open(root: Path) -> None:
    def work() -> object:
        root_fd, context = do(root)
        before = len(os.listdir("/proc/self/fd"))
        for entry in (
            TMPFS,
            {**TMPFS, "destination": "/a/b/c"},
            {"destination": "/e/f", "source": "/etc/hostname", "options": ["bind", "ro"]},
            {**TMPFS, "destination": "/"},
            {**TMPFS, "options": ["nonsense"]},
            {"destination": "/e", "source": "/etc/hostname", "options": ["bind"]},
        ):
            try:
                mount_entry(root_fd, entry, context)
            except Exception:  # noqa: BLE001  # some are meant to fail
                continue
        return len(os.listdir("/proc/self/fd")) - before

    assert inside(work) == 0
