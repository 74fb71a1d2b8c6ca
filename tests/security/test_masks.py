"""Masked and read-only paths hold, whatever the image has in the place of what they are made of.

CVE-2025-31133 and youki's CVE-2025-62161: a /dev/null that is a link turned a mask into a mount of
what the link led to. And a /proc that is exchanged for another directory while its paths are
masked left the procfs without masks.

In 1,000 rounds of each race (`make bars`, 28 November 2026, kernel 6.18) no mask was missing.

runc 1.1.5 is before CVE-2025-31133, and leaves masks off in some rounds.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest
from harness import bars
from harness.attack import Exchanger
from harness.box import Box
from harness.inside import CLONE_NEWPID, Refused, do, inside, mount_entry, mounts
from harness.peers import peer_deviates

from ocirun.kernel.mount import umount2
from ocirun.rootfs import devices, masks

ROUNDS = bars.count(40, 1000)
PROC = {"destination": "/proc", "type": "proc", "source": "proc"}
EMPTY = -1  # what the probe says of a file that opens and has nothing in it


@peer_deviates("crun", "1.8 opens it by name", sometimes=True)
@peer_deviates("runc", "1.1 is before CVE-2025-31133")
@pytest.mark.parametrize("target", ["/etc/passwd", "/proc/sys/kernel/domainname"])
def test_a_false_null_is_not_used(box: Box, target: str) -> None:
    """CVE-2025-31133: the source must be the null device, not a link of that name."""
    bundle = box.bundle("/probe", "try", "read:/secret")
    bundle.config["mounts"] = [bundle.mounts[0]]  # /dev is the image's own
    (bundle.rootfs / "secret").write_text("secret\n")
    (bundle.rootfs / "dev/null").symlink_to(target)
    bundle.linux["maskedPaths"] = ["/secret"]
    run = box.container(bundle).run()
    if run.status == 0:
        assert run.json()[0]["errno"] == EMPTY


@peer_deviates("crun", "1.8 opens it by name", sometimes=True)
@peer_deviates("runc", "1.1 is before CVE-2025-31133", sometimes=True)
def test_a_null_that_is_exchanged_for_a_link(box: Box) -> None:
    """CVE-2025-31133, CVE-2025-62161: looked at as a device, used as a link to a file of /proc."""
    bundle = box.bundle("/probe", "try", "read:/secret", "write:/secret")
    bundle.config["mounts"] = [bundle.mounts[0]]
    (bundle.rootfs / "secret").write_text("secret\n")
    (bundle.rootfs / "link").symlink_to("/proc/sys/kernel/domainname")
    bundle.linux["maskedPaths"] = ["/secret"]
    box.container(bundle).run()  # makes the node
    seen = set()
    with Exchanger((bundle.rootfs / "dev/null", bundle.rootfs / "link")):
        for _ in range(ROUNDS):
            run = box.container(bundle).run()
            if run.status == 0:
                seen.add(run.json()[0]["errno"])
    assert seen <= {EMPTY}


@peer_deviates("runc", "resolves them by name after the mounts", sometimes=True)
@peer_deviates("crun", "resolves them by name after the mounts", sometimes=True)
@pytest.mark.parametrize(
    ("place", "kind", "paths"),
    [
        ("proc", "proc", ("version", "sys", "sys/kernel/domainname")),
        ("sys", "sysfs", ("power/state", "kernel", "kernel/mm/transparent_hugepage/enabled")),
    ],
)
def test_what_is_exchanged_while_it_is_masked(
    box: Box, place: str, kind: str, paths: tuple[str, str, str]
) -> None:
    """The masks are put on the very mount that was made, whatever name it has by then."""
    masked, readonly, written = paths
    names = (place, "other")
    calls = [f"read:/{name}/{masked}" for name in names]
    calls += [f"write:/{name}/{written}" for name in names]
    bundle = box.bundle("/probe", "try", *calls)
    (bundle.rootfs / "other").mkdir()
    if kind != "proc":
        bundle.add_mount(f"/{place}", kind, kind)
    bundle.linux["maskedPaths"] = [f"/{place}/{masked}"]
    bundle.linux["readonlyPaths"] = [f"/{place}/{readonly}"]
    seen = set()
    with Exchanger((bundle.rootfs / place, bundle.rootfs / "other"), pause_s=0.0005):
        for _ in range(ROUNDS):
            run = box.container(bundle).run()
            if run.status == 0:
                seen.update(entry["errno"] for entry in run.json())
    assert seen <= {EMPTY, errno.EROFS, errno.ENOENT}
    assert EMPTY in seen


@pytest.mark.skipif(os.geteuid() != 0, reason="not root")
def test_a_false_null_is_refused(tmp_path: Path) -> None:
    """CVE-2025-31133: a link, a file, another device."""
    root = tmp_path / "root"
    (root / "dev").mkdir(parents=True)
    for make in (
        lambda: (root / "dev" / "null").symlink_to("/proc/sys/kernel/core_pattern"),
        (root / "dev" / "null").touch,
        lambda: os.mknod(root / "dev" / "null", stat.S_IFCHR, os.makedev(1, 5)),
    ):
        make()
        with pytest.raises(Refused, match='"/dev/null" in the root is not the null device'):
            inside(lambda: masks.open_null(do(root)[0]))
        (root / "dev" / "null").unlink()


@pytest.mark.skipif(os.geteuid() != 0, reason="not root")
def test_the_procfs_is_masked_in_each_of_1000_rounds(tmp_path: Path) -> None:
    """The steps alone, without a container, while /proc and another directory are exchanged."""
    root = tmp_path / "root"
    for name in ("proc", "other"):
        (root / name / "sys").mkdir(parents=True)
        (root / name / "version").touch()

    def work() -> object:
        root_fd, context = do(root)
        null = {"path": "/dev/null", "type": "c", "major": 1, "minor": 3}
        devices.make_devices(root_fd, [null], bind=False)  # type: ignore[list-item]
        null_fd = masks.open_null(root_fd)
        masked = 0
        for _ in range(1000):
            attacker.go()
            mount_entry(root_fd, PROC, context)  # type: ignore[arg-type]
            masks.readonly_paths(root_fd, ["/proc/sys"], context)
            masks.mask_paths(root_fd, ["/proc/version"], null_fd, context)
            attacker.pause()
            found = mounts(str(root))
            (place,) = (
                point for point, row in found.items() if row.place.endswith(("proc", "other"))
            )
            version = found.get(f"{place}/version")
            covered = found.get(f"{place}/sys")
            masked += bool(version and covered and "ro" in covered.options)
            umount2(f"{root}{place}", 2)
        return masked

    with Exchanger((root / "proc", root / "other")) as attacker:
        assert inside(work, CLONE_NEWPID) == 1000
