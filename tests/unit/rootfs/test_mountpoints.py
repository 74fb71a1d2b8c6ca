"""Where mounts may go, and what is read from tables, without a mount being made."""

from __future__ import annotations

import pytest

from ocirun.errors import SetupError
from ocirun.kernel.mountinfo import parse_mountinfo
from ocirun.rootfs.devices import is_host_dev
from ocirun.rootfs.filesystems import fits_fsconfig
from ocirun.rootfs.mountpoints import clean, refuse_proc
from ocirun.rootfs.pivot import full_views


@pytest.mark.parametrize(
    ("destination", "cleaned"),
    [
        ("/proc", "/proc"),
        ("/proc/", "/proc"),
        ("//proc//./sys/", "/proc/sys"),
        ("/data/../proc", "/proc"),
        ("/../proc", "/proc"),
        ("relative/path", "/relative/path"),
        ("/", "/"),
        ("", "/"),
    ],
)
def test_a_destination_is_cleaned_before_it_is_judged(destination: str, cleaned: str) -> None:
    assert clean(destination) == cleaned


def test_only_a_procfs_may_be_proc() -> None:
    refuse_proc("/proc", is_procfs=True)
    refuse_proc("/procfoo", is_procfs=False)
    with pytest.raises(SetupError, match='"/proc" cannot be mounted because it is not of type'):
        refuse_proc("/proc", is_procfs=False)


def test_below_proc_only_the_files_of_lxcfs() -> None:
    for name in ("cpuinfo", "meminfo", "sys/kernel/ns_last_pid", "sys/crypto/fips_enabled"):
        refuse_proc(f"/proc/{name}", is_procfs=False)
    for name in ("self/attr", "sys", "sys/kernel", "cpuinfo/x", "1"):
        with pytest.raises(SetupError, match="because it is inside /proc"):
            refuse_proc(f"/proc/{name}", is_procfs=True)


def test_dev_is_the_hosts_when_it_is_bound() -> None:
    bound = {"destination": "/dev/", "source": "/dev", "options": ["rbind"]}
    fresh = {"destination": "/dev", "type": "tmpfs", "options": ["nosuid"]}
    below = {"destination": "/dev/shm", "source": "/dev/shm", "options": ["bind"]}
    assert is_host_dev({"mounts": [bound]})
    assert not is_host_dev({"mounts": [fresh, below]})
    assert not is_host_dev({"mounts": [{"destination": "/dev", "type": "bind"}]})
    assert not is_host_dev({})


def test_long_values_do_not_fit_fsconfig() -> None:
    assert fits_fsconfig(["lowerdir=" + "x" * 255, "y" * 250])
    assert not fits_fsconfig(["lowerdir=" + "x" * 256])
    assert not fits_fsconfig(["lowerdir=" + "é" * 128])


TABLE = """\
20 1 254:0 / / rw,relatime - ext4 /dev/vda rw
21 20 0:20 / /proc rw - proc proc rw
22 20 0:21 / /sys rw shared:4 - sysfs sysfs rw
23 22 0:22 / /sys/fs/cgroup rw - tmpfs tmpfs rw
24 20 0:20 /sys /mnt/part ro - proc proc rw
30 20 254:0 /c/rootfs /c/root\\040fs rw - ext4 /dev/vda rw
32 31 0:24 / /c/root\\040fs/a/proc rw - proc proc rw
31 30 0:23 / /c/root\\040fs/a rw - tmpfs tmpfs rw
33 20 0:25 / /odd\\134\\011name rw - proc proc rw
"""


def test_whole_views_outside_the_root_are_found() -> None:
    assert full_views(parse_mountinfo(TABLE), root_mount=30) == [
        "/proc",
        "/sys",
        "/odd\\\tname",
    ]
