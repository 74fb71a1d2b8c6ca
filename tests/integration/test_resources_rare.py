"""Keys of linux.resources that need what few machines have; most of this runs in the lab.

Source: runtime-spec config-linux.md#network, #rdma, #cpu;
docs/runc-compat/cgroups.md#conversion-of-resources.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Generator
from pathlib import Path

import pytest
from harness.box import Box
from harness.cgroups import on_v1
from harness.limits import directories_of
from harness.machine import MARK
from harness.needs import needs
from harness.runtime import wait_until
from harness.updating import by_flags, held, limited, update

from ocirun.cgroups.v1.cgroup import CgroupV1
from ocirun.kernel import mount

pytestmark = [pytest.mark.integration, needs("root")]


@pytest.fixture(params=["net_cls", "net_prio", "hugetlb"])
def hierarchy(request: pytest.FixtureRequest) -> Generator[tuple[str, Path]]:
    """A v1 hierarchy of one controller, and a cgroup in it.

    It is mounted nowhere, so that nobody else's containers are put there meanwhile.
    """
    name: str = request.param
    fs_fd = mount.fsopen("cgroup")
    try:
        mount.fsconfig_flag(fs_fd, name)
        mount.fsconfig_create(fs_fd)
        mount_fd = mount.fsmount(fs_fd, 0)
    except OSError as error:
        pytest.skip(f"this kernel has no {name} to mount: {error}")
    finally:
        os.close(fs_fd)
    directory = Path(f"/proc/self/fd/{mount_fd}/{MARK}")
    before = cgroups_of(name)
    try:
        directory.mkdir()
        yield name, directory
        directory.rmdir()
        # Kernel: a hierarchy ends with its mount, but for one that has a cgroup on its way out.
        wait_until(lambda: cgroups_of(name) <= before, "the end of the cgroup")
    finally:
        os.close(mount_fd)


def cgroups_of(name: str) -> int:
    lines = Path("/proc/cgroups").read_text().splitlines()
    return next(int(words[2]) for words in map(str.split, lines) if words[0] == name)


def test_controllers_that_are_seldom_mounted(hierarchy: tuple[str, Path]) -> None:
    """Kernel: they can be mounted as v1 where nobody has them in the v2 tree, beside that one."""
    name, directory = hierarchy
    cgroup = CgroupV1({name: str(directory)})
    for number in (3, 4):
        if name == "net_cls":
            cgroup.update({"network": {"classID": 0x10000 + number}})
            assert (directory / "net_cls.classid").read_text() == f"{0x10000 + number}\n"
        elif name == "hugetlb":
            cgroup.update({"hugepageLimits": [{"pageSize": "2MB", "limit": number << 21}]})
            for file in ("hugetlb.2MB.limit_in_bytes", "hugetlb.2MB.rsvd.limit_in_bytes"):
                assert (directory / file).read_text() == f"{number << 21}\n"
        else:
            cgroup.update({"network": {"priorities": [{"name": "lo", "priority": number}]}})
            assert f"lo {number}\n" in (directory / "net_prio.ifpriomap").read_text()


@pytest.fixture
def rdma_device() -> Generator[str]:
    """A device of the kernel's software RDMA, on the loopback interface."""
    name = "ocirunsiw"
    if not shutil.which("rdma"):
        pytest.skip("this machine has no block device for RDMA: no rdma(8)")
    subprocess.run(["modprobe", "siw"], check=False, capture_output=True)
    words = ["rdma", "link", "add", name, "type", "siw", "netdev", "lo"]
    done = subprocess.run(words, check=False, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"this kernel has no software RDMA: {done.stderr.strip()}")
    yield name
    subprocess.run(["rdma", "link", "delete", name], check=True)


@pytest.mark.lab
@needs("ours", "cgroup v2")
def test_handles_of_an_rdma_device(box: Box, rdma_device: str) -> None:
    """Made, changed one at a time, and refused for a device that is not there."""
    limits = {"rdma": {rdma_device: {"hcaHandles": 3, "hcaObjects": 5}}}
    container = box.running(limited(box, limits))
    file = directories_of(container.pid)[""] / "rdma.max"
    assert f"{rdma_device} hca_handle=3 hca_object=5\n" in file.read_text()
    update(container, {"rdma": {rdma_device: {"hcaObjects": 7}}}).ok()
    assert f"{rdma_device} hca_handle=3 hca_object=7\n" in file.read_text()
    update(container, {"rdma": {"nosuch0": {"hcaObjects": 7}}}).failed("rdma.max", "nosuch0")
    container.stop()
    container.delete().ok()
    assert not file.exists()


@pytest.fixture
def bfq_disk() -> Generator[tuple[int, int]]:
    """A disk under the BFQ scheduler."""
    subprocess.run(["modprobe", "bfq"], check=False, capture_output=True)
    schedulers = Path("/sys/dev/block").glob("*/queue/scheduler")
    chosen = next((path for path in schedulers if "bfq" in path.read_text()), None)
    if chosen is None:
        pytest.skip("this kernel has no BFQ")
    before = chosen.read_text()
    chosen.write_text("bfq")
    major, _, minor = chosen.parent.parent.name.partition(":")
    yield int(major), int(minor)
    chosen.write_text(before.partition("[")[2].partition("]")[0])


@pytest.mark.lab
@needs("ours", "cgroup v2")
def test_weights_under_bfq(box: Box, bfq_disk: tuple[int, int]) -> None:
    major, minor = bfq_disk
    entry = {"major": major, "minor": minor}
    weights = {"weight": 300, "weightDevice": [{**entry, "weight": 200}]}
    container = box.running(limited(box, {"blockIO": weights}))
    file = directories_of(container.pid)[""] / "io.bfq.weight"
    assert file.read_text().split() == ["default", "300", f"{major}:{minor}", "200"]
    by_flags(container, "--blkio-weight=500").ok()
    update(container, {"blockIO": {"weightDevice": [{**entry, "weight": 700}]}}).ok()
    assert file.read_text().split() == ["default", "500", f"{major}:{minor}", "700"]


@pytest.mark.lab
@needs("ours", "cgroup v2")
def test_huge_pages_and_raw_files(box: Box) -> None:
    """Changed by page size and by name; the other ones stay."""
    limits = {
        "hugepageLimits": [{"pageSize": "2MB", "limit": 4 << 20}],
        "unified": {"memory.high": str(48 << 20), "pids.max": "40"},
    }
    container = box.running(limited(box, limits))
    update(container, {"hugepageLimits": [{"pageSize": "2MB", "limit": 0}]}).ok()
    assert held(container, "", "hugetlb.2MB.max") == "0"
    assert held(container, "", "hugetlb.2MB.rsvd.max") == "0"
    update(container, {"unified": {"memory.high": "max"}}).ok()
    assert held(container, "", "memory.high") == "max"
    assert held(container, "", "pids.max") == "40"
    update(container, {"unified": {"nosuch.file": "1"}}).failed("controller 'nosuch' not available")


@pytest.mark.lab
@needs("ours", "cgroup v2")
def test_a_controller_that_was_not_handed_down_is_named(box: Box) -> None:
    container = box.running(limited(box, {}))
    update(container, {"rdma": {"nosuch0": {"hcaObjects": 7}}}).failed("nosuch0")
    bundle = limited(box, {})
    bundle.linux["cgroupsPath"] = f"/{MARK}-threads/below"
    top = Path("/sys/fs/cgroup") / f"{MARK}-threads"
    inner = box.running(bundle)
    (top / "cgroup.subtree_control").write_text("-pids")
    by_flags(inner, "--pids-limit=5").failed("cannot set pids limit: controller pids not available")
    inner.stop()
    inner.delete().ok()
    top.rmdir()


@on_v1
def test_a_caller_with_realtime_priority(box: Box) -> None:
    """Kernel: a process that has it may only join a cgroup that has some of its time."""
    if not Path("/sys/fs/cgroup/cpu/cpu.rt_runtime_us").exists():
        pytest.skip("this kernel has no cpu.rt_runtime_us")
    bundle = limited(box, {"cpu": {"realtimePeriod": 1000000, "realtimeRuntime": 20000}})
    bundle.linux["cgroupsPath"] = f"/{MARK}-realtime"
    container = box.container(bundle)

    def become_realtime() -> None:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))

    container.create(preexec_fn=become_realtime).ok()
    assert held(container, "cpu cpu.rt_runtime_us", "") == "20000"
    assert os.sched_getscheduler(container.pid) & ~os.SCHED_RESET_ON_FORK == os.SCHED_RR


@needs("cgroup v1")
def test_tcp_buffers_are_limited_where_the_kernel_can(box: Box) -> None:
    """Deprecated, but kernels with a v1 memory controller may still have the file."""
    bundle = box.bundle("/probe", "wait")
    bundle.linux["resources"] = {"memory": {"kernelTCP": 4 << 20}}
    container = box.running(bundle)
    file = directories_of(container.pid)["memory"] / "memory.kmem.tcp.limit_in_bytes"
    if not file.exists():
        pytest.skip(f"this kernel has no {file.name}")
    assert int(file.read_text()) == 4 << 20
    box.runtime.call("update", "--kernel-memory-tcp", str(8 << 20), container.id).ok()
    assert int(file.read_text()) == 8 << 20
