"""User namespaces with one-entry and multi-entry maps.

Source: runtime-spec config-linux.md#user-namespace-mappings; docs/runc-compat/init.md#namespaces,
docs/runc-compat/init.md#validation.
"""

from __future__ import annotations

import errno
import os

import pytest
from harness.box import Box
from harness.bundle import Bundle
from harness.mountinfo import mount_at
from harness.needs import needs
from harness.peers import peer_deviates

pytestmark = needs("userns")

ONE = ((0, 100000, 65536),)
SEVERAL = ((0, 100000, 1000), (1000, 300000, 1), (2000, 200000, 500))
IDENTITY = ((0, 0, 4294967295),)


def with_maps(box: Box, *maps: tuple[int, int, int]) -> Bundle:
    bundle = box.bundle()
    bundle.use_userns(*maps)
    return bundle


def lines(maps: tuple[tuple[int, int, int], ...]) -> list[list[str]]:
    return [[str(number) for number in entry] for entry in maps]


@pytest.mark.parametrize("maps", [ONE, SEVERAL, IDENTITY], ids=["one", "several", "identity"])
def test_the_maps_are_those_of_the_config(box: Box, maps: tuple[tuple[int, int, int], ...]) -> None:
    report = box.report(with_maps(box, *maps))
    assert [line.split() for line in report["uid_map"]] == lines(maps)
    assert [line.split() for line in report["gid_map"]] == lines(maps)
    assert report["setgroups"] == "allow\n"
    assert report["uids"] == [0, 0, 0]


def test_uid_and_gid_maps_may_differ(box: Box) -> None:
    bundle = with_maps(box, *ONE)
    bundle.linux["gidMappings"] = [{"containerID": 0, "hostID": 200000, "size": 10}]
    report = box.report(bundle)
    assert report["uid_map"][0].split() == ["0", "100000", "65536"]
    assert report["gid_map"][0].split() == ["0", "200000", "10"]


def test_the_process_is_somebody_else_outside(box: Box) -> None:
    bundle = with_maps(box, *ONE)
    bundle.process["args"] = ["/probe", "wait"]
    bundle.process["user"] = {"uid": 1000, "gid": 1001}
    container = box.running(bundle)
    owner = os.stat(f"/proc/{container.pid}")
    assert (owner.st_uid, owner.st_gid) == (101000, 101001)


def test_it_is_a_namespace_of_its_own(box: Box) -> None:
    report = box.report(with_maps(box, *ONE))
    assert report["namespaces"]["user"] != os.stat("/proc/self/ns/user").st_ino


def test_the_other_namespaces_belong_to_it(box: Box) -> None:
    """Its root may rename the host it sees and mount, and nothing of that reaches outside."""
    bundle = with_maps(box, *ONE)
    bundle.process["capabilities"] = {
        name: ["CAP_SYS_ADMIN"] for name in ("bounding", "effective", "permitted")
    }
    before = os.uname().nodename
    assert box.attempts(bundle, "hostname:inside", "mount:/tmp") == [0, 0]
    assert os.uname().nodename == before


def test_its_root_is_not_the_hosts(box: Box) -> None:
    bundle = with_maps(box, *ONE)
    (bundle.rootfs / "of-the-host").write_text("x")
    (bundle.rootfs / "of-the-host").chmod(0o600)
    os.chown(bundle.rootfs / "of-the-host", 0, 0)
    calls = box.attempts(bundle, "open:/of-the-host", "mknod:/tmp/n")
    assert calls == [errno.EACCES, errno.EPERM]


def test_devices_are_bound_from_the_host(box: Box) -> None:
    bundle = with_maps(box, *ONE)
    report = box.report(bundle)
    entry = report["dev"]["/dev/null"]
    assert (entry["type"], entry["major"], entry["minor"]) == ("c", 1, 3)
    assert mount_at(report, "/dev/null").kind in ("devtmpfs", "tmpfs")
    assert box.attempts(bundle, "write:/dev/null", "read:/dev/urandom") == [0, 0]


def test_additional_groups_are_set_in_a_user_namespace(box: Box) -> None:
    bundle = with_maps(box, *ONE)
    bundle.process["user"] = {"uid": 1, "gid": 2, "additionalGids": [3, 4]}
    report = box.report(bundle)
    assert (report["uids"][0], report["gids"][0], sorted(report["groups"])) == (1, 2, [3, 4])


def test_an_unmapped_user_is_refused(box: Box) -> None:
    bundle = with_maps(box, *SEVERAL)
    bundle.process["user"] = {"uid": 1500, "gid": 0}
    box.container(bundle).create().failed("unmapped")


def test_an_unmapped_group_is_refused(box: Box) -> None:
    bundle = with_maps(box, *SEVERAL)
    bundle.process["user"] = {"uid": 0, "gid": 1500}
    box.container(bundle).create().failed("unmapped")


def test_capabilities_are_full_inside(box: Box) -> None:
    bundle = with_maps(box, *ONE)
    bundle.process["capabilities"] = {
        name: ["CAP_SYS_ADMIN", "CAP_CHOWN"] for name in ("bounding", "effective", "permitted")
    }
    found = box.report(bundle)["capabilities"]
    assert found["effective"] == found["bounding"] == 1 << 21 | 1 << 0


def test_mounts_of_every_kind(box: Box) -> None:
    bundle = with_maps(box, *ONE)
    bundle.add_mount("/sys", "sysfs", "sysfs", "nosuid", "noexec", "nodev", "ro")
    bundle.add_mount("/dev/shm", "tmpfs", "shm", "mode=1777", "size=65536k")
    bundle.add_mount("/dev/mqueue", "mqueue", "mqueue", "nosuid", "noexec", "nodev")
    bundle.linux["maskedPaths"] = ["/proc/kcore", "/proc/timer_list", "/sys/firmware"]
    bundle.linux["readonlyPaths"] = ["/proc/sys", "/proc/bus"]
    report = box.report(bundle)
    for place in ("/sys", "/dev/shm", "/dev/mqueue", "/sys/firmware", "/proc/sys"):
        mount_at(report, place)
    assert box.attempts(bundle, "read:/proc/timer_list", "write:/proc/sys/kernel/msgmax") == [
        -1,
        errno.EROFS,
    ]


def test_a_bind_from_a_folder_the_containers_root_may_not_enter(box: Box) -> None:
    """The source is opened by the parent, who may."""
    closed = box.folder / "closed"
    (closed / "shared").mkdir(parents=True)
    (closed / "shared/file").write_text("reached\n")
    (closed / "shared").chmod(0o755)
    closed.chmod(0o700)
    bundle = with_maps(box, *ONE)
    bundle.process["args"] = ["cat", "/data/file"]
    bundle.add_mount("/data", "bind", str(closed / "shared"), "bind", "ro")
    assert box.output(bundle) == "reached\n"


def test_hostname_and_sysctl(box: Box) -> None:
    bundle = with_maps(box, *ONE)
    bundle.config["hostname"] = "inside"
    bundle.linux["sysctl"] = {"net.ipv4.ip_forward": "1"}
    bundle.process["args"] = ["/probe", "file:/proc/sys/net/ipv4/ip_forward"]
    report = box.report(bundle)
    assert report["hostname"] == "inside"
    assert report["files"]["/proc/sys/net/ipv4/ip_forward"] == "1\n"


@pytest.mark.parametrize("missing", ["uidMappings", "gidMappings"])
def test_maps_are_needed(box: Box, missing: str) -> None:
    bundle = with_maps(box, *ONE)
    del bundle.linux[missing]
    box.container(bundle).create().failed()


@peer_deviates("runc", "1.1 ignores them")
def test_maps_without_the_namespace_are_refused(box: Box) -> None:
    bundle = with_maps(box, *ONE)
    bundle.drop_namespace("user")
    box.container(bundle).create().failed()


@peer_deviates("runc", "1.1 wants the maps beside the path")
def test_one_can_be_joined(box: Box) -> None:
    first = with_maps(box, *ONE)
    first.process["args"] = ["/probe", "wait"]
    other = box.running(first)
    second = with_maps(box, *ONE)
    for entry in ("uidMappings", "gidMappings"):
        del second.linux[entry]
    second.set_namespace("user", f"/proc/{other.pid}/ns/user")
    inode = os.stat(f"/proc/{other.pid}/ns/user").st_ino
    report = box.report(second)
    assert report["namespaces"]["user"] == inode
    assert report["uids"] == [0, 0, 0]


def test_start_kill_and_delete_work(box: Box) -> None:
    bundle = with_maps(box, *SEVERAL)
    bundle.process["args"] = ["/probe", "trap"]
    container = box.running(bundle)
    container.kill("USR1").ok()
    container.wait_output("got 10")
    container.stop()
    container.delete().ok()


def test_stdio_can_be_opened_again(box: Box) -> None:
    bundle = with_maps(box, *ONE)
    bundle.process["args"] = ["sh", "-c", "echo again > /dev/stdout"]
    assert box.output(bundle) == "again\n"


def test_the_message_queues_belong_to_its_root(box: Box) -> None:
    """The kernel gives them to whoever makes the IPC namespace."""
    bundle = with_maps(box, *ONE)
    bundle.process["args"] = ["/probe", "wait"]
    bundle.add_mount("/dev/mqueue", "mqueue", "mqueue", "nosuid", "noexec", "nodev")
    container = box.running(bundle)
    assert os.stat(f"/proc/{container.pid}/root/dev/mqueue").st_uid == 100000
