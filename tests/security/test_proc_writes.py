"""What is written to /proc reaches the kernel, and nothing else, whatever lies over /proc.

CVE-2025-52881 and youki's CVE-2025-62596: a label or a sysctl was written into a file that somebody
had put in the place of the one in /proc, or into another file of /proc. CVE-2019-16884.

1,000 rounds of each race passed. runc 1.1.5 writes into what covers the file in a joined mount
namespace, and else refuses the mount.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from harness import bars
from harness.attack import Exchanger
from harness.box import Box
from harness.peers import peer_deviates

ROUNDS = bars.count(40, 1000)


@peer_deviates("runc", "1.1 opens it by name", sometimes=True)
@peer_deviates("crun", "1.8 opens it by name", sometimes=True)
@pytest.mark.parametrize("decoy", ["a file", "another file of proc"])
def test_a_proc_that_is_exchanged_while_a_sysctl_is_written(box: Box, decoy: str) -> None:
    """The value is in the container's own network namespace, or create fails."""
    bundle = box.bundle("/probe", "wait")
    other = bundle.rootfs / "other"
    (other / "sys/net/ipv4").mkdir(parents=True)
    file = other / "sys/net/ipv4/ip_forward"
    if decoy == "a file":
        file.write_text("untouched")
    else:
        file.symlink_to("/proc/sys/kernel/domainname")
    bundle.linux["sysctl"] = {"net.ipv4.ip_forward": "1"}
    pid_file = box.folder / "pid"
    values = set()
    with Exchanger((bundle.rootfs / "proc", other), pause_s=0.0005) as attacker:
        for _ in range(ROUNDS):
            container = box.container(bundle)
            if container.create("--pid-file", pid_file).status == 0:
                enter = ["nsenter", f"--net=/proc/{pid_file.read_text()}/ns/net"]
                read = [*enter, "cat", "/proc/sys/net/ipv4/ip_forward"]
                values.add(subprocess.check_output(read))
                container.delete("--force").ok()
            attacker.pause()
            attacker.go()
        attacker.pause()
        if decoy == "a file":
            assert file.read_text() == "untouched"
    assert values == {b"1\n"}
    assert Path("/proc/sys/kernel/domainname").read_text() != "1\n"


class TestCovered:
    """CVE-2025-52881: somebody has put something else in the place of the parameter's file."""

    @pytest.mark.parametrize(
        "destination", ["/proc/sys", "/proc/sys/net", "/proc/sys/net/ipv4/ip_forward"]
    )
    @peer_deviates("crun", "mounts it", sometimes=True)
    def test_a_mount_of_the_bundle_over_it_is_refused(self, box: Box, destination: str) -> None:
        bundle = box.bundle()
        decoy = box.folder / "decoy"
        if destination.endswith("ip_forward"):
            decoy.write_text("untouched")
        else:
            decoy.mkdir()
        bundle.add_mount(destination, "bind", str(decoy), "bind")
        bundle.linux["sysctl"] = {"net.ipv4.ip_forward": "1"}
        box.container(bundle).create().failed(destination)

    @pytest.mark.parametrize("place", ["proc", "proc/sys"])
    def test_a_link_of_the_image_leads_nowhere(self, box: Box, place: str) -> None:
        """With /proc of its own the mount is refused, or covers the link."""
        outside = box.folder / "outside"
        (outside / "sys/net/ipv4").mkdir(parents=True)
        (outside / "sys/net/ipv4/ip_forward").write_text("untouched")
        bundle = box.bundle("true")
        target = bundle.rootfs / place
        if place == "proc":
            target.rmdir()
        target.symlink_to(outside if place == "proc" else outside / "sys")
        bundle.linux["sysctl"] = {"net.ipv4.ip_forward": "1"}
        box.container(bundle).run()
        assert (outside / "sys/net/ipv4/ip_forward").read_text() == "untouched"

    @peer_deviates("runc", "1.1 writes into what covers the file")
    @pytest.mark.parametrize("key", ["kernel.domainname", "kernel/domainname"])
    def test_a_decoy_in_a_joined_mount_namespace_is_not_written(self, box: Box, key: str) -> None:
        """The namespace is another's, who has covered the file in the root's own /proc.

        Of a parameter that has one file for all namespaces: those of net and ipc have one each,
        which nobody can cover beforehand.
        """
        bundle = box.bundle("sleep", "30")
        decoy = box.folder / "decoy"
        decoy.write_text("untouched")
        script = (
            f"mount --make-rprivate / && mount -t proc proc {bundle.rootfs}/proc && "
            f"mount --bind {decoy} {bundle.rootfs}/proc/sys/kernel/domainname && "
            "echo ready && exec sleep 60"
        )
        with Neighbour(script) as neighbour:
            bundle.set_namespace("mount", f"/proc/{neighbour.pid}/ns/mnt")
            bundle.drop_namespace("pid")  # that /proc shows the pids of the host
            bundle.config["mounts"] = []
            bundle.linux["sysctl"] = {key: "example.org"}
            container = box.container(bundle)
            container.run("--detach").ok()
            enter = ["nsenter", f"--uts=/proc/{container.pid}/ns/uts"]
            name = subprocess.check_output([*enter, "cat", "/proc/sys/kernel/domainname"])
            container.delete("--force").ok()
        assert decoy.read_text() == "untouched"
        assert name == b"example.org\n"


class Neighbour:
    """A process with a mount namespace that it has arranged by a shell script."""

    def __init__(self, script: str) -> None:
        self._process = subprocess.Popen(
            ["unshare", "--mount", "sh", "-c", script], stdout=subprocess.PIPE
        )
        self.pid = self._process.pid

    def __enter__(self) -> Neighbour:
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"ready\n"
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()
