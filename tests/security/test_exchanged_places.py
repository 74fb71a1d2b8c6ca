"""A folder that becomes a link to the host while something is made or mounted below it.

CVE-2021-30465 (a mount lands on the host), CVE-2024-45310 (an empty file or folder is made on the
host), CVE-2026-41579 (device nodes). The attacker is a second container that shares a volume.

In 1,000 rounds with each kind of mount and with devices (28 November 2026, kernel 6.18)
nothing appeared on the host.

runc 1.1.5 may make folders and files where the link leads: it is before CVE-2024-45310. It did not
in 40 rounds.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from harness import bars
from harness.attack import Exchanger
from harness.box import Box
from harness.inside import do, inside, mount_entry, mounts
from harness.needs import needs
from harness.peers import peer_deviates

ROUNDS = bars.count(40, 1000)


@pytest.fixture
def target(box: Box) -> Path:
    """A folder of the host, where nothing may appear."""
    folder = box.folder / "target-on-the-host"
    folder.mkdir()
    return folder


@pytest.fixture
def volume(box: Box, target: Path) -> Path:
    """A volume with `dir` and a link of it to the target, for an absolute and a relative walk."""
    folder = box.folder / "volume"
    (folder / "dir").mkdir(parents=True)
    (folder / "link").symlink_to(f"{'../' * 20}{str(target)[1:]}")
    return folder


@peer_deviates("runc", "1.1 is before CVE-2024-45310", sometimes=True)
@peer_deviates("crun", "1.8 may make a folder where the link leads", sometimes=True)
@pytest.mark.parametrize("kind", ["folder", "file", "tmpfs"])
def test_nothing_is_mounted_or_made_where_the_link_leads(
    box: Box, shared: Path, volume: Path, target: Path, kind: str
) -> None:
    """CVE-2021-30465, CVE-2024-45310."""
    bundle = box.bundle("true")
    bundle.add_mount("/volume", "bind", str(volume), "bind")
    place = "/volume/dir/sub/deep"
    if kind == "tmpfs":
        bundle.add_mount(place, "tmpfs", "tmpfs")
    else:
        source = shared if kind == "folder" else shared / "file"
        bundle.add_mount(place, "bind", str(source), "bind")
    with Exchanger((volume / "dir", volume / "link")):
        for _ in range(ROUNDS):
            box.container(bundle).run()
    assert list(target.iterdir()) == []


@peer_deviates("runc", "1.1 is before CVE-2026-41579", sometimes=True)
@peer_deviates("crun", "1.8 may make nodes where the link leads", sometimes=True)
def test_no_device_is_made_where_the_link_leads(box: Box, volume: Path, target: Path) -> None:
    """CVE-2026-41579: the image's own /dev is exchanged for a link to the host."""
    bundle = box.bundle("true")
    bundle.config["mounts"] = [bundle.mounts[0]]
    (bundle.rootfs / "link").symlink_to(os.readlink(volume / "link"))
    with Exchanger((bundle.rootfs / "dev", bundle.rootfs / "link")):
        for _ in range(ROUNDS):
            box.container(bundle).run()
    assert list(target.iterdir()) == []


@needs("ours")
def test_no_link_is_made_where_the_link_leads(box: Box, volume: Path, target: Path) -> None:
    """`copy-symlink` makes a link inside the root only."""
    (box.folder / "source").symlink_to("anywhere")
    bundle = box.bundle("true")
    bundle.add_mount("/volume", "bind", str(volume), "bind")
    bundle.add_mount(
        "/volume/dir/sub/link", "bind", str(box.folder / "source"), "bind", "copy-symlink"
    )
    with Exchanger((volume / "dir", volume / "link")):
        for _ in range(ROUNDS):
            box.container(bundle).run()
    assert list(target.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="not root")
def test_the_steps_alone_1000_times(tmp_path: Path) -> None:
    """CVE-2021-30465, CVE-2024-45310: half the time the parent of the mounts is a link."""
    root, outside = tmp_path / "root", tmp_path / "outside"
    outside.mkdir()
    (root / "vol" / "dir").mkdir(parents=True)
    (root / "vol" / "link").symlink_to(f"../../{'../' * 20}{str(outside)[1:]}")
    rounds = 1000

    def work() -> object:
        root_fd, context = do(root)
        refused = escaped = 0
        with Exchanger((root / "vol/dir", root / "vol/link")):
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
        return refused, escaped, len(mounts(str(root)))

    refused, escaped, made = inside(work)  # type: ignore[misc]
    assert escaped == 0
    assert os.listdir(outside) == []
    assert made + refused >= rounds
    assert refused < rounds / 2
