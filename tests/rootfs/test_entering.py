"""pivot_root, --no-pivot, chroot, rootfsPropagation, read-only root."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
from harness.inside import (
    CLONE_NEWPID,
    TMPFS,
    Mounted,
    Refused,
    do,
    inside,
    mount_entry,
    mounts,
    without_master,
)

from ocirun.rootfs import finalize, pivot, prepare
from ocirun.rootfs.context import MountContext

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def entered(root: Path, enter: Callable[[int], None], propagation: str | None = None) -> Any:  # noqa: ANN401
    (root / "proc").mkdir()
    (root / "mark").touch()

    def work() -> object:
        prepare.set_propagation(propagation)
        root_fd = prepare.attach_root(str(root), propagation)
        context = MountContext()
        mount_entry(root_fd, {"destination": "/proc", "type": "proc"}, context)
        enter(root_fd)
        prepare.repropagate(propagation)
        found = mounts()
        return {
            "top": sorted(os.listdir("/")),
            "cwd": os.getcwd(),
            "up": sorted(os.listdir("/../..")),
            "optional": found["/"].optional,
            "places": sorted(found),
        }

    return inside(work, CLONE_NEWPID, propagate=False)


def test_pivot_leaves_nothing_of_the_old_root(root: Path) -> None:
    found = entered(root, pivot.pivot)
    assert found["top"] == found["up"] == ["mark", "proc"]
    assert found["cwd"] == "/"
    assert found["places"] == ["/", "/proc"]


def test_no_pivot_moves_the_root(root: Path) -> None:
    found = entered(root, pivot.move_root)
    assert found["top"] == found["up"] == ["mark", "proc"]
    assert found["cwd"] == "/"
    assert found["places"] == ["/", "/proc"]


def test_no_pivot_covers_the_hosts_proc_and_sysfs(root: Path) -> None:
    def work() -> object:
        root_fd, _ = do(root, {"destination": "/p", "type": "proc", "source": "proc"})
        pivot._cover_full_views(pivot.mount_id(root_fd))
        with open(f"{root}/p/self/mountinfo") as file:
            rows = [Mounted(line) for line in file.read().splitlines()]
        return [row.place for row in rows if row.fs_name in ("proc", "sysfs") and row.root == "/"]

    assert inside(work, CLONE_NEWPID) == [f"{root}/p"]


def test_chroot_enters_the_root_without_a_mount_namespace(root: Path) -> None:
    (root / "mark").touch()

    def work() -> object:
        root_fd = os.open(root, os.O_PATH | os.O_DIRECTORY)
        pivot.chroot(root_fd)
        return os.getcwd(), os.listdir("/")

    assert inside(work) == ["/", ["mark"]]


@pytest.mark.parametrize(
    ("propagation", "optional"),
    [
        ("private", ""),
        ("rprivate", ""),
        ("slave", ""),
        ("rslave", ""),
        ("shared", "shared:"),
        ("rshared", "shared:"),
        ("unbindable", "unbindable"),
        ("runbindable", "unbindable"),
    ],
)
def test_every_rootfs_propagation(root: Path, propagation: str, optional: str) -> None:
    found = entered(root, pivot.pivot, propagation)
    own = without_master(found["optional"])
    assert own.startswith(optional)
    assert bool(own) == bool(optional)


def test_an_unknown_propagation_is_refused(root: Path) -> None:
    with pytest.raises(Refused, match="rootfsPropagation=sideways is not supported"):
        entered(root, pivot.pivot, "sideways")


def test_nothing_reaches_a_shared_host(root: Path) -> None:
    """The rootfs lies on a shared mount: neither its bind nor what is in it shows outside."""
    from ocirun.kernel.mount import AT_FDCWD, AT_RECURSIVE, MS_SHARED, mount_setattr

    def host() -> object:
        mount_setattr(AT_FDCWD, "/", AT_RECURSIVE, propagation=MS_SHARED)
        before = sorted(mounts())
        for propagation in (None, "slave", "private", "shared", "rshared", "unbindable"):

            def container(wanted: str | None = propagation) -> object:
                prepare.set_propagation(wanted)
                root_fd = prepare.attach_root(str(root), wanted)
                mount_entry(root_fd, TMPFS, MountContext())
                here = [place for place in mounts() if place.startswith(str(root))]
                pivot.pivot(root_fd)
                prepare.repropagate(wanted)
                return here

            assert inside(container, propagate=False) == [str(root), f"{root}/t"]
            assert sorted(mounts()) == before
        return True

    assert inside(host)


def test_a_readonly_root_keeps_its_other_attributes(root: Path) -> None:
    (root / "proc").mkdir()

    def work() -> object:
        origin = root.parent / "origin"
        origin.mkdir()
        (origin / "proc").mkdir()
        host_fd, _ = do(root.parent)
        entry = {"destination": "/root", "source": str(origin), "options": ["bind", "nosuid"]}
        mount_entry(host_fd, entry, MountContext())
        root_fd = prepare.attach_root(str(root), None)
        mount_entry(root_fd, {"destination": "/proc", "type": "proc"}, MountContext())
        pivot.pivot(root_fd)
        finalize.readonly_root()
        return sorted(mounts()["/"].options & {"ro", "nosuid"})

    assert inside(work, CLONE_NEWPID) == ["nosuid", "ro"]
