"""Machines of the vm engine that lose something they need: one sentence, a true state, no rest.

Source: docs/vm.md#failures.
"""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

from harness.box import Box, Container
from harness.machine import MNT_DETACH, libc_call
from harness.machines import WAIT_S, by_vm, in_guest, mount_tmpfs, tmpfs
from harness.needs import needs
from harness.runtime import wait_until

pytestmark = needs("ours", "root", "machines")

MS_BIND = 4096
MS_REMOUNT = 32
DAEMONS = (Path("/usr/lib/qemu/virtiofsd"), Path("/usr/libexec/virtiofsd"))
SPACE = "no space left on device"


def fill(place: Path) -> None:
    """Leave neither room nor inodes on a tmpfs."""
    found = os.statvfs(place)
    used = found.f_files - found.f_ffree
    blocks = (found.f_blocks - found.f_bfree) * found.f_frsize
    assert mount_tmpfs(place, f"size={blocks},nr_inodes={used}", MS_REMOUNT) == 0


def failure_of(container: Container) -> str:
    return (container.runtime.root / container.id / "vm.error").read_text()


def test_a_host_without_virtiofsd_says_so(box: Box) -> None:
    hidden = [path for path in DAEMONS if path.exists()]
    for path in hidden:
        assert libc_call("mount", b"/dev/null", os.fsencode(path), b"", MS_BIND, b"") == 0
    try:
        call = by_vm(box.container(), "create", env={"PATH": "/usr/bin:/bin"})
    finally:
        for path in hidden:
            libc_call("umount2", os.fsencode(path), MNT_DETACH)
    call.failed("no virtiofsd; the vm engine needs it (Debian: virtiofsd, or qemu 7)")


def test_a_machine_ends_with_its_virtiofsd(box: Box) -> None:
    container = box.container(None, "sleep", "1000")
    by_vm(container, "run", "--detach").ok()
    pid = container.state()["pid"]
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    names = {Path(f"/proc/{child}/comm").read_text().strip(): child for child in children}
    os.kill(int(names["virtiofsd"]), signal.SIGKILL)
    wait_until(lambda: container.status == "stopped", "the end", WAIT_S)
    assert failure_of(container) == "virtiofsd was killed by signal 9"
    container.delete().ok()


def test_a_machine_ends_with_the_agent_in_its_guest(box: Box) -> None:
    """The guest's program loses the port, as if it had died: the machine goes off.

    Danger: a host whose devices are virtio's would lose them.
    """
    script = """mount -t sysfs sysfs /sys; cd /sys/bus/virtio/drivers/virtio_console
        echo virtio* >unbind; sleep 1000"""
    container = box.container(None, "sh", "-c", in_guest(script))
    container.bundle.process["capabilities"] = {
        name: ["CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE"]
        for name in ("bounding", "effective", "permitted")
    }
    (container.bundle.rootfs / "sys").mkdir(exist_ok=True)
    by_vm(container, "run", "--detach").ok()
    wait_until(lambda: container.status == "stopped", "the end", WAIT_S)
    assert failure_of(container).startswith("the machine was shut down (guest-shutdown)")
    container.delete().ok()


def test_a_machine_whose_qemu_stands_still_is_killed_on_a_full_disk(box: Box) -> None:
    root = box.runtime.root
    with tmpfs(root, "size=1m"):
        container = box.container(None, "sleep", "1000")
        by_vm(container, "create").ok()
        container.start(timeout=WAIT_S).ok()
        fill(root)
        qemu = int(container.state()["annotations"]["org.ocirun.vm.pid"])
        os.kill(qemu, signal.SIGSTOP)
        assert container.status == "running"
        os.kill(qemu, signal.SIGKILL)
        wait_until(lambda: container.status == "stopped", "the end", WAIT_S)
        assert not (root / container.id / "vm.error").exists()
        container.delete().ok()
        assert [path.name for path in root.iterdir() if path.name[0] != "@"] == []


def test_a_full_disk_under_the_root_is_an_error_in_the_container(box: Box, tmp_path: Path) -> None:
    """In the program, where it writes; in create, where a mount point has to be made."""
    disk = tmp_path / "disk"
    with tmpfs(disk, "size=16m"):
        script = "dd if=/dev/zero of=/full bs=64k && echo wrote; rm /full; echo on"
        container = box.container(None, "sh", "-c", script)
        shutil.copytree(container.bundle.rootfs, disk / "root", symlinks=True)
        container.bundle.config["root"]["path"] = str(disk / "root")
        call = by_vm(container, "run")
        assert call.status == 0
        assert call.stdout == "on\n"
        assert "No space left on device" in call.stderr
        fill(disk)
        container = box.container(container.bundle)
        container.bundle.add_mount("/not/there", "tmpfs", "tmpfs")
        call = by_vm(container, "create").failed("making the mount point /not/there: No space")
        assert len(call.log_lines) == 1


def test_each_file_that_a_full_disk_refuses_is_one_sentence(box: Box) -> None:
    """The state root has room for one file more, until everything is made but the machine."""
    container = box.container()
    hypervisor = {"path": shutil.which("qemu-system-x86_64"), "parameters": ["-S"]}
    container.bundle.config["vm"] = {"hypervisor": hypervisor}
    container.bundle.config["annotations"] = {"org.ocirun.vm.boot-seconds": "1"}
    refused = 0
    for inodes in range(2, 16):
        with tmpfs(box.runtime.root, f"nr_inodes={inodes}"):
            call = by_vm(container, "create")
            assert len(call.log_lines) == 1
            container.runtime.call("state", container.id).failed("does not exist")
            if "has not booted in 1 s" in call.said:
                break
            call.failed(SPACE)
            refused += 1
    assert refused > 4
