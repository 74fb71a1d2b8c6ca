"""`mounts add` and `mounts remove` in a container that means harm.

Source: docs/runc-compat/cli.md#mounts; docs/mounts.md; CVE-2016-9962, CVE-2019-14271,
CVE-2019-16884.
"""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from harness.box import Box
from harness.late_mounts import add, bind, mounted, new, of_the_host, remove
from harness.needs import needs
from harness.trapped import TrappedRoot

pytestmark = needs("root", "ours")


class TestHostile:
    """The root belongs to the container by now."""

    @pytest.mark.parametrize("target", ["/../../../etc", "/proc/1/root", "../../..", "/nowhere"])
    def test_links_end_inside(self, box: Box, shared: Path, target: str) -> None:
        container = box.running()
        (container.bundle.rootfs / "link").symlink_to(target)
        before = of_the_host(box)
        add(container, bind(shared, "/link/added"))
        assert of_the_host(box) == before
        assert not Path("/etc/added").exists()
        assert not Path("/nowhere").exists()

    @pytest.mark.parametrize(
        "destination",
        ["/proc", "/proc/sys", "/proc/self", "/link/sys", "/link", "/", "/self/..", "/up/../.."],
    )
    def test_proc_and_the_root_are_not_covered(
        self, box: Box, shared: Path, destination: str
    ) -> None:
        container = box.running()
        (container.bundle.rootfs / "link").symlink_to("proc")
        (container.bundle.rootfs / "up").symlink_to("..")
        before = mounted(container)
        add(container, bind(shared, destination)).failed()
        assert mounted(container) == before

    def test_a_procfs_elsewhere_is_one_too(self, box: Box, shared: Path) -> None:
        bundle = box.bundle("/probe", "wait")
        bundle.add_mount("/other", "proc", "proc")
        add(box.running(bundle), bind(shared, "/other/sys")).failed("inside /proc")

    @pytest.mark.parametrize("place", ["/proc/version", "/proc/fs"])
    def test_a_link_to_a_masked_place_is_refused(self, box: Box, shared: Path, place: str) -> None:
        """What lies there is no procfs: it is what the mask is made of."""
        bundle = box.bundle("/probe", "wait")
        bundle.linux["maskedPaths"] = [place]
        container = box.running(bundle)
        (container.bundle.rootfs / "link").symlink_to(place)
        source = shared if place == "/proc/fs" else shared / "file"
        add(container, bind(source, "/link")).failed("inside /proc")
        if place == "/proc/fs":
            add(container, new("tmpfs", "/link")).failed("inside /proc")

    def test_what_lxcfs_covers_may_be(self, box: Box, shared: Path) -> None:
        container = box.running()
        add(container, bind(shared / "file", "/proc/uptime")).ok()
        assert container.exec("cat", "/proc/uptime").ok().stdout == "of the host\n"
        remove(container, "/proc/uptime").ok()

    def test_a_mask_is_not_taken_away(self, box: Box) -> None:
        bundle = box.bundle("/probe", "wait")
        bundle.add_mount("/sys", "sysfs", "sysfs", "ro")
        bundle.linux["maskedPaths"] = ["/proc/timer_list", "/sys/firmware", "/etc"]
        bundle.linux["readonlyPaths"] = ["/proc/sys"]
        container = box.running(bundle)
        (container.bundle.rootfs / "data").symlink_to("etc")
        before = mounted(container)
        for place in ("/proc/timer_list", "/sys/firmware/", "/proc/sys", "/proc", "/", "/etc"):
            remove(container, place).failed()
        for place in ("/data", "/data/.", "/data/../sys/firmware"):
            remove(container, place).failed()
        assert mounted(container) == before

    def test_a_root_that_keeps_changing(self, box: Box, shared: Path) -> None:
        """It exchanges a folder for a link to the host's tree, which only looks like one."""
        script = (
            "mkdir /a /a/b; ln -s /../../../../tmp /link; echo ready; "
            "while :; do mv /a /c; mv /link /a; mv /a /link; mv /c /a; done 2>/dev/null"
        )
        bundle = box.bundle("sh", "-c", script)
        container = box.running(bundle)
        container.wait_output("ready")
        before = of_the_host(box)
        end = time.monotonic() + 3
        while time.monotonic() < end:
            add(container, bind(shared, "/a/b"))
        assert of_the_host(box) == before
        container.kill("KILL")

    def test_it_sees_nothing_of_who_mounts(self, box: Box, shared: Path) -> None:
        every = ["CAP_SYS_PTRACE", "CAP_KILL", "CAP_DAC_OVERRIDE"]
        sets = dict.fromkeys(("bounding", "effective", "permitted"), every)
        bundle = box.bundle("/probe", "stalk", capabilities=sets)
        bundle.use_userns((0, 100000, 65536))
        bundle.drop_namespace("pid")  # so that it sees our pids at all
        bundle.mounts[0] = bind("/proc", "/proc")
        bundle.mounts[0]["options"][0] = "rbind"
        container = box.running(bundle)
        container.wait_output("ready")
        for number in range(10):
            add(container, bind(shared, f"/data{number}")).ok()
        seen = container.output.split("ready\n", 1)[1].splitlines()
        assert [line for line in seen if not line.startswith("met ")] == []
        container.kill("KILL").ok()

    @pytest.mark.parametrize("userns", [False, True])
    def test_no_trap_is_touched(self, box: Box, shared: Path, userns: bool) -> None:
        bundle = box.bundle("/probe", "wait")
        with TrappedRoot(bundle) as traps:
            if userns:
                bundle.use_userns((0, 100000, 65536))
            container = box.running(bundle)
            traps.touched()
            add(container, bind(shared, "/data"), new("tmpfs", "/more")).ok()
            add(container, bind(shared, "/x"), new("nosuchfs", "/y")).failed()
            add(container, bind(shared, "/x"), new("tmpfs", "/etc/hostname")).failed()
            remove(container, "/data", "/more").ok()
            remove(container, "/etc").failed()
            assert traps.touched() == []
