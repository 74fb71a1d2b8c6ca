"""Nothing of the bundle covers a file of /proc, and no link of the image moves /proc or /sys.

What lies over files of /proc swallows what is written to them: AppArmor's and SELinux' labels,
sysctls. CVE-2019-16884, CVE-2019-19921, CVE-2023-27561, CVE-2023-28642; youki's CVE-2025-54867.

In 1,000 rounds of each race (`make bars`, 28 November 2026, kernel 6.18) nothing was misplaced.

runc 1.1.5 refuses the static ones, except `dest-nofollow`, which it does not know. It mounts the
procfs elsewhere in some rounds.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from harness import bars
from harness.attack import Exchanger
from harness.box import Box
from harness.bundle import Bundle
from harness.inside import CLONE_NEWNET, CLONE_NEWPID, Refused, do, inside, mounted
from harness.mountinfo import MountLine, read_line
from harness.needs import needs
from harness.peers import peer_deviates

ROUNDS = bars.count(40, 1000)


def mounts_after_create(box: Box, bundle: Bundle) -> list[MountLine]:
    """Create a container, and return its mounts as the host sees them; none if create failed."""
    container = box.container(bundle)
    pid_file = box.folder / "pid"
    if container.create("--pid-file", pid_file).status != 0:
        return []
    lines = Path(f"/proc/{pid_file.read_text()}/mountinfo").read_text().splitlines()
    container.delete("--force").ok()
    return [read_line(line) for line in lines]


def over_proc(mounts: list[MountLine]) -> list[str]:
    """Return what is mounted over a file or directory of a procfs."""
    procfs = [mount.point for mount in mounts if mount.kind == "proc"]
    return [
        mount.point
        for mount in mounts
        for point in procfs
        if mount.kind != "proc" and mount.point.startswith(f"{point}/")
    ]


@peer_deviates("crun", "1.8 refuses in other words")
@pytest.mark.parametrize(("place", "kind"), [("/proc", "proc"), ("/sys", "sysfs")])
@pytest.mark.parametrize("target", ["elsewhere", "/elsewhere", "../../../../elsewhere"])
def test_proc_and_sys_may_not_be_links(box: Box, place: str, kind: str, target: str) -> None:
    """CVE-2019-19921, CVE-2023-27561, CVE-2023-28642, youki's CVE-2025-54867; runc refuses too."""
    bundle = box.bundle()
    (bundle.rootfs / place[1:]).rmdir()
    (bundle.rootfs / "elsewhere").mkdir()
    (bundle.rootfs / place[1:]).symlink_to(target)
    bundle.config["mounts"] = [{"destination": place, "type": kind, "source": kind}]
    box.container(bundle).create().failed("must be mounted on ordinary directory")


@peer_deviates("crun", "1.8 mounts there", sometimes=True)
@pytest.mark.parametrize("place", ["/proc/sys", "/proc/self/attr", "/proc/net/dev", "/proc/1"])
def test_nothing_is_mounted_below_proc(box: Box, shared: Path, place: str) -> None:
    """CVE-2019-16884; runc 1.1.5 still allows /proc/net/dev."""
    if place == "/proc/net/dev" and box.runtime.name == "runc":
        pytest.xfail("1.1 still had it on its list")
    bundle = box.bundle()
    bundle.add_mount(place, "bind", str(shared), "bind")
    box.container(bundle).create().failed("/proc")


@peer_deviates("crun", "1.8 mounts there")
def test_a_folder_over_proc_is_refused(box: Box, shared: Path) -> None:
    """CVE-2019-16884: a volume in the place of /proc; runc refuses too."""
    bundle = box.bundle()
    bundle.add_mount("/proc", "bind", str(shared), "bind")
    box.container(bundle).create().failed("/proc")


@peer_deviates("crun", "1.8 mounts there")
def test_a_link_into_proc_is_refused(box: Box, shared: Path) -> None:
    """CVE-2019-16884: the image leads the volume to /proc/sys; runc refuses too."""
    bundle = box.bundle()
    (bundle.rootfs / "data").symlink_to("/proc/sys")
    bundle.add_mount("/data", "bind", str(shared), "bind")
    box.container(bundle).create().failed("/proc")


@peer_deviates("crun", "1.8 mounts there", sometimes=True)
@pytest.mark.parametrize("kind", ["bind", "tmpfs", "overlay with a long option"])
def test_a_link_on_the_way_of_dest_nofollow_is_refused(box: Box, shared: Path, kind: str) -> None:
    """CVE-2019-16884: only the last name is not followed. runc does not know the option."""
    if box.runtime.name == "runc":
        pytest.skip("this is not about runc")
    bundle = box.bundle()
    (bundle.rootfs / "data").symlink_to("/proc/sys")
    if kind == "bind":
        bundle.add_mount("/data/net", "bind", str(shared), "bind", "dest-nofollow")
    elif kind == "tmpfs":
        bundle.add_mount("/data/net", "tmpfs", "tmpfs", "dest-nofollow")
    else:
        lower = ":".join([str(shared)] + [f"{shared}/{'x' * 60}{n}" for n in range(8)])
        for folder in lower.split(":"):
            Path(folder).mkdir(exist_ok=True)
        bundle.add_mount("/data/net", "overlay", "overlay", f"lowerdir={lower}")
    box.container(bundle).create().failed("inside /proc")


@needs("ours")
def test_a_device_is_not_mounted_into_proc(box: Box) -> None:
    """In a user namespace devices are bind mounts, of which the image chooses the place."""
    bundle = box.bundle()
    bundle.use_userns((0, 100000, 65536))
    (bundle.rootfs / "data").symlink_to("/proc")
    bundle.linux["devices"] = [{"path": "/data/version", "type": "c", "major": 1, "minor": 3}]
    box.container(bundle).create().failed()


@peer_deviates("runc", "1.1 looks before it opens", sometimes=True)
@peer_deviates("crun", "1.8 mounts where the link leads", sometimes=True)
@pytest.mark.parametrize("what", ["folder", "file"])
def test_a_missing_place_that_becomes_a_link_into_proc(box: Box, shared: Path, what: str) -> None:
    """CVE-2019-16884: it is looked for, missing, and a link to /proc/sys/net when it is made."""
    bundle = box.bundle()
    volume = box.folder / "volume"
    (volume / "empty").mkdir(parents=True)
    (volume / "other").mkdir()
    (volume / "other/place").symlink_to("/proc/sys/net" if what == "folder" else "/proc/version")
    bundle.add_mount("/volume", "bind", str(volume), "bind")
    source = shared if what == "folder" else shared / "file"
    bundle.add_mount("/volume/empty/place", "bind", str(source), "bind")
    found = []
    with Exchanger((volume / "empty", volume / "other")) as attacker:
        for _ in range(ROUNDS):
            found += over_proc(mounts_after_create(box, bundle))
            attacker.pause()
            made = volume / "empty/place"
            if made.is_dir():
                made.rmdir()
            made.unlink(missing_ok=True)
            attacker.go()
    assert found == []


@peer_deviates("runc", "1.1 looks before it opens", sometimes=True)
@peer_deviates("crun", "1.8 mounts where the link leads", sometimes=True)
def test_a_proc_that_is_exchanged_for_a_link(box: Box) -> None:
    """CVE-2019-19921, CVE-2023-28642: /proc is a folder when looked at, a link when mounted on.

    Whatever wins, the procfs is mounted at the path itself, or nothing is.
    """
    bundle = box.bundle()
    (bundle.rootfs / "elsewhere").mkdir()
    (bundle.rootfs / "link").symlink_to("elsewhere")
    found = []
    with Exchanger((bundle.rootfs / "proc", bundle.rootfs / "link")):
        for _ in range(ROUNDS):
            points = [m.point for m in mounts_after_create(box, bundle) if m.kind == "proc"]
            found += [point for point in points if point == "/elsewhere"]
    assert found == []
    assert list((bundle.rootfs / "elsewhere").iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="not root")
@pytest.mark.parametrize("fs_name", ["proc", "sysfs"])
def test_proc_and_sysfs_want_an_ordinary_directory(tmp_path: Path, fs_name: str) -> None:
    """CVE-2019-19921, CVE-2023-27561: on the way as well as at the end."""
    root = tmp_path / "root"
    (root / "elsewhere" / "place").mkdir(parents=True)
    (root / "place").symlink_to("elsewhere/place")
    (root / "way").symlink_to("elsewhere")
    (root / "file").touch()
    words = f'filesystem "{fs_name}" must be mounted on ordinary directory'
    for destination in ("/place", "/way/place", "/way/new", "/file"):
        entry = {"destination": destination, "type": fs_name, "source": fs_name}
        with pytest.raises(Refused, match=words):
            inside(lambda one=entry: do(root, one), CLONE_NEWPID | CLONE_NEWNET)


@pytest.mark.skipif(os.geteuid() != 0, reason="not root")
def test_the_rules_of_proc(tmp_path: Path) -> None:
    """CVE-2019-16884: only a procfs is /proc, and only the files of lxcfs lie below it."""
    root = tmp_path / "root"
    root.mkdir()
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
