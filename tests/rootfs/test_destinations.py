"""Where a mount may go: runtime-spec config.md#mounts, destination; links, races, /proc."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from harness.inside import (
    Refused,
    do,
    inside,
    mounts,
)

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


def test_nothing_may_cover_the_root(root: Path) -> None:
    (root / "self").symlink_to("/")
    for destination in ("/", "/self", "/x/.."):
        with pytest.raises(Refused, match="is on the top of rootfs"):
            inside(lambda where=destination: do(root, {"destination": where, "type": "tmpfs"}))
