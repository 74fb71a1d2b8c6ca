"""Masked and read-only paths: runtime-spec config-linux.md#masked-paths."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
from harness.inside import (
    CLONE_NEWPID,
    DEVICES,
    do,
    inside,
    mounts,
)

from ocirun.rootfs import devices, masks, pivot

if TYPE_CHECKING:
    from pathlib import Path


def hide(root: Path, masked: list[str], readonly: list[str], after_pivot: bool) -> Any:  # noqa: ANN401  # JSON
    def work() -> object:
        root_fd, context = do(
            root,
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/ro/below", "type": "tmpfs", "source": "tmpfs"},
        )
        devices.make_devices(root_fd, DEVICES[:1], bind=False)
        prefix = str(root)
        if after_pivot:
            pivot.pivot(root_fd)
            root_fd = os.open("/", os.O_PATH)
            prefix = ""
        masks.readonly_paths(root_fd, readonly, context)
        null_fd = masks.open_null(root_fd)
        masks.mask_paths(root_fd, masked, null_fd, context)
        found = mounts(prefix)
        with open(f"{prefix}/secret/file", "rb") as file:
            content = file.read().decode()
        return {
            "content": content,
            "listing": os.listdir(f"{prefix}/secret/dir"),
            "devices": sorted({found[p].device for p in ("/secret/dir", "/secret/other")}),
            "dir": sorted(found["/secret/dir"].options | {found["/secret/dir"].super_options}),
            "ro": sorted(found["/ro"].options),
            "below": sorted(found["/ro/below"].options),
            "proc": sorted(found["/proc/sys"].options),
            "missing": [place for place in found if "missing" in place],
        }

    return inside(work, CLONE_NEWPID)


@pytest.mark.parametrize("after_pivot", [False, True])
def test_masked_and_readonly_paths(root: Path, after_pivot: bool) -> None:
    for name in ("dir", "other"):
        (root / "secret" / name).mkdir(parents=True)
        (root / "secret" / name / "key").touch()
    (root / "secret" / "file").write_text("secret")
    (root / "ro").mkdir()
    masked = ["/secret/dir", "/secret/file", "/secret/other", "/missing/file", "/missing"]
    found = hide(root, masked, ["/ro", "/proc/sys", "/missing"], after_pivot)
    assert found["content"] == ""
    assert found["listing"] == []
    assert len(found["devices"]) == 1  # one tmpfs for all of them
    assert "ro" in found["dir"]
    assert "nr_inodes=1" in " ".join(found["dir"])
    assert "ro" in found["ro"]
    assert "rw" in found["below"]
    assert "ro" in found["proc"]
    assert found["missing"] == []


def test_what_is_listed_twice_is_covered_once(root: Path) -> None:
    """runc mounts on it for each time that it is listed."""
    for name in ("dir", "ro"):
        (root / name).mkdir()
    (root / "file").touch()

    def work() -> object:
        root_fd, context = do(root)
        devices.make_devices(root_fd, DEVICES[:1], bind=False)
        masks.readonly_paths(root_fd, ["/ro", "/ro/", "//ro"], context)
        null_fd = masks.open_null(root_fd)
        masks.mask_paths(root_fd, ["/dir", "/file", "/dir/.", "/file"], null_fd, context)
        with open("/proc/self/mountinfo") as file:
            return sorted(
                line.split()[4].removeprefix(str(root)) for line in file if f"{root}/" in line
            )

    assert inside(work) == ["/dir", "/file", "/ro"]
