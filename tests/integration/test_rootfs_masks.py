"""Masked and read-only paths: runtime-spec config-linux.md#masked-paths.

Functions of ocirun/rootfs on the real kernel, without a container around them.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Any

import pytest
from harness.inside import (
    CLONE_NEWPID,
    Refused,
    do,
    inside,
    mounts,
)

from ocirun.rootfs import devices, masks, pivot

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(os.geteuid() != 0, reason="not root"),
]


NODES = {"null": 3, "zero": 5, "full": 7, "random": 8, "urandom": 9}
DEVICES: list[dict[str, Any]] = [
    {"path": f"/dev/{name}", "type": "c", "major": 1, "minor": minor, "fileMode": 0o666}
    for name, minor in NODES.items()
]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An empty root, and a directory beside it that must stay empty."""
    (tmp_path / "outside").mkdir()
    made = tmp_path / "root"
    made.mkdir()
    return made


def hide(root: Path, masked: list[str], readonly: list[str], after_pivot: bool) -> Any:  # noqa: ANN401  # JSON
    def work() -> object:
        root_fd, _ = do(
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
        masks.readonly_paths(root_fd, readonly)
        null_fd = masks.open_null(root_fd)
        masks.mask_paths(root_fd, masked, null_fd, "")
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


def test_a_false_null_is_refused(root: Path) -> None:
    """CVE-2025-31133."""
    (root / "dev").mkdir()
    for make in (
        lambda: (root / "dev" / "null").symlink_to("/proc/sys/kernel/core_pattern"),
        (root / "dev" / "null").touch,
        lambda: os.mknod(root / "dev" / "null", stat.S_IFCHR, os.makedev(1, 5)),
    ):
        make()
        with pytest.raises(Refused, match='"/dev/null" in the root is not the null device'):
            inside(lambda: masks.open_null(do(root)[0]))
        (root / "dev" / "null").unlink()
