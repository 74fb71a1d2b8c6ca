"""A process of exec is inside the container's root, also where that is no mount of its own.

Attack: the container has no mount namespace, so that joining namespaces does not lead into its
root; whoever may exec would be in the host's.

runc 1.1.5 and crun 1.8.1 run such a process in the root of the host. runc refuses a `--cwd` that is
not absolute, and takes /proc/self/cwd for the root of the container.

Source: chroot(2); setns(2), which changes the root with a mount namespace only.
"""

from __future__ import annotations

import itertools
import subprocess
from collections.abc import Generator

import pytest
from harness.box import Box, Container
from harness.bundle import Bundle
from harness.needs import needs
from harness.peers import peer_deviates

pytestmark = needs("root")

KINDS = ("pid", "network", "ipc", "uts", "cgroup", "user")
COMBINATIONS = [
    kinds for count in range(len(KINDS) + 1) for kinds in itertools.combinations(KINDS, count)
]
HOST_ONLY = "runs it in the root of the host"


def without_mounts(box: Box, *kinds: str) -> Bundle:
    bundle = box.bundle("/probe", "wait")
    bundle.linux["namespaces"] = [{"type": kind} for kind in kinds if kind != "user"]
    if "user" in kinds:
        bundle.use_userns((0, 100000, 65536))
    bundle.config["mounts"] = []
    (bundle.rootfs / "only-here").touch()
    # runc needs one, and makes its mounts on the host without a mount namespace.
    subprocess.run(["mount", "-t", "proc", "proc", bundle.rootfs / "proc"], check=True)
    return bundle


@pytest.fixture(autouse=True)
def _no_mount_is_left(box: Box) -> Generator[None, None, None]:
    yield
    # runc binds the root over itself, on the host. That goes first: with it what is mounted below.
    for pattern in ("bundle*/rootfs", "bundle*/rootfs/proc"):
        for place in box.folder.glob(pattern):
            subprocess.run(["umount", "-l", place], check=False, stderr=subprocess.DEVNULL)


def is_inside(container: Container, *flags: str) -> None:
    listing = container.exec("/bin/ls", "/", "/..", flags=flags).ok().stdout.split()
    assert listing.count("only-here") == 2
    assert container.exec("/bin/cat", "/etc/hostname", flags=flags).ok().stdout == "rootfs\n"


@peer_deviates("runc", HOST_ONLY)
@peer_deviates("crun", HOST_ONLY)
@pytest.mark.parametrize("kinds", COMBINATIONS, ids="+".join)
def test_each_combination_without_a_mount_namespace(box: Box, kinds: tuple[str, ...]) -> None:
    is_inside(box.running(without_mounts(box, *kinds)))


@peer_deviates("runc", HOST_ONLY)
@peer_deviates("crun", HOST_ONLY)
def test_each_way_of_starting_it(each_way: Box) -> None:
    container = each_way.running(without_mounts(each_way, "pid"))
    is_inside(container)
    is_inside(container, "--user", "1000")
    is_inside(container, "--cwd", "/etc")


@peer_deviates("runc", HOST_ONLY)
@peer_deviates("crun", HOST_ONLY)
def test_exec_enters_the_root_beside_joined_namespaces(box: Box) -> None:
    first = box.running(without_mounts(box, "pid", "network"))
    bundle = without_mounts(box)
    for kind, name in (("pid", "pid"), ("network", "net")):
        bundle.set_namespace(kind, f"/proc/{first.pid}/ns/{name}")
    is_inside(box.running(bundle))


@pytest.mark.parametrize(
    "cwd",
    [
        pytest.param(
            "/", marks=[peer_deviates("runc", HOST_ONLY), peer_deviates("crun", HOST_ONLY)]
        ),
        pytest.param(
            "/..", marks=[peer_deviates("runc", HOST_ONLY), peer_deviates("crun", HOST_ONLY)]
        ),
        pytest.param("/proc/self/cwd", marks=peer_deviates("crun", HOST_ONLY)),
        pytest.param("../../..", marks=peer_deviates("crun", HOST_ONLY)),
    ],
)
def test_a_working_directory_is_inside_as_well(box: Box, cwd: str) -> None:
    container = box.running(without_mounts(box, "pid"))
    call = container.exec("/bin/ls", flags=("--cwd", cwd))
    assert call.status == 255 or "only-here" in call.stdout


def test_with_a_mount_namespace(box: Box) -> None:
    container = box.running()
    (container.bundle.rootfs / "only-here").touch()
    is_inside(container)


def test_with_no_pivot(box: Box) -> None:
    container = box.container(box.bundle("/probe", "wait"))
    (container.bundle.rootfs / "only-here").touch()
    container.create("--no-pivot").ok()
    container.start().ok()
    container.wait_output("ready")
    is_inside(container)


@needs("ours")
@pytest.mark.parametrize("mounts", [True, False])
def test_a_caller_in_another_mount_namespace(box: Box, mounts: bool) -> None:
    """What counts is the namespaces and the root of init, not those of who calls exec."""
    bundle = box.bundle("/probe", "wait") if mounts else without_mounts(box, "pid")
    (bundle.rootfs / "only-here").touch()
    container = box.running(bundle)
    call = box.runtime.prepare("exec", container.id, "/bin/ls", "/")
    call.argv[:0] = ["unshare", "-m"]
    done = subprocess.run(call.argv, capture_output=True, text=True, check=True, timeout=20)
    assert "only-here" in done.stdout
