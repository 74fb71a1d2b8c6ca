"""Namespaces: new, the host's, joined by path.

Source: runtime-spec config-linux.md#namespaces; docs/runc-compat/init.md#namespaces,
docs/runc-compat/init.md#validation.
"""

from __future__ import annotations

import os

import pytest
from harness.box import Box
from harness.peers import peer_deviates

FILES = {
    "pid": "pid",
    "network": "net",
    "ipc": "ipc",
    "uts": "uts",
    "mount": "mnt",
    "cgroup": "cgroup",
    "time": "time",
}


def own(kind: str) -> int:
    return os.stat(f"/proc/self/ns/{FILES[kind]}").st_ino


@pytest.mark.parametrize("kind", ["pid", "network", "ipc", "uts", "mount", "cgroup"])
def test_a_new_one_is_not_the_hosts(box: Box, kind: str) -> None:
    bundle = box.bundle()
    bundle.set_namespace(kind)
    assert box.report(bundle)["namespaces"][FILES[kind]] != own(kind)


@pytest.mark.parametrize("kind", ["pid", "network", "ipc", "uts", "cgroup"])
def test_one_that_is_not_asked_for_is_the_hosts(box: Box, kind: str) -> None:
    bundle = box.bundle()
    bundle.drop_namespace(kind)
    if kind == "network":  # sysfs and friends are not mounted here; nothing else changes
        assert "lo" in box.report(bundle)["interfaces"]
    assert box.report(bundle)["namespaces"][FILES[kind]] == own(kind)


@pytest.mark.parametrize("kind", ["pid", "network", "ipc", "uts"])
def test_one_can_be_joined_by_path(box: Box, kind: str) -> None:
    other = box.running()
    bundle = box.bundle()
    bundle.set_namespace(kind, f"/proc/{other.pid}/ns/{FILES[kind]}")
    joined = os.stat(f"/proc/{other.pid}/ns/{FILES[kind]}").st_ino
    assert box.report(bundle)["namespaces"][FILES[kind]] == joined


def test_several_can_be_joined_at_once(box: Box) -> None:
    other = box.running()
    bundle = box.bundle()
    for kind in ("pid", "network", "ipc", "uts"):
        bundle.set_namespace(kind, f"/proc/{other.pid}/ns/{FILES[kind]}")
    found = box.report(bundle)
    for kind in ("pid", "network", "ipc", "uts"):
        assert (
            found["namespaces"][FILES[kind]]
            == os.stat(f"/proc/{other.pid}/ns/{FILES[kind]}").st_ino
        )
    assert found["pid"] != 1


@pytest.mark.parametrize("path", ["/no/such/ns", "/etc/passwd", "/proc/self/ns/net"])
def test_a_path_that_is_no_such_namespace_is_refused(box: Box, path: str) -> None:
    bundle = box.bundle()
    bundle.set_namespace("uts", path)
    box.container(bundle).create().failed()


def test_an_unknown_type_is_refused(box: Box) -> None:
    bundle = box.bundle()
    bundle.linux["namespaces"].append({"type": "netwrok"})
    box.container(bundle).create().failed("netwrok")


def test_a_type_given_twice_is_refused(box: Box) -> None:
    bundle = box.bundle()
    bundle.linux["namespaces"].append({"type": "pid"})
    box.container(bundle).create().failed()


class TestNetwork:
    """A new network namespace has a loopback interface that is up."""

    def test_lo_is_up_and_alone(self, box: Box) -> None:
        interfaces = box.report(box.bundle())["interfaces"]
        assert interfaces["lo"] == "up"
        assert [name for name, state in interfaces.items() if state == "up"] == ["lo"]

    def test_lo_is_up_in_a_new_network_namespace(self, box: Box) -> None:
        bundle = box.bundle("ip", "-o", "addr", "show", "lo")
        assert "127.0.0.1/8" in box.output(bundle)


class TestUts:
    """hostname and domainname."""

    def test_hostname_is_set_inside_only(self, box: Box) -> None:
        bundle = box.bundle()
        bundle.config["hostname"] = "web-1"
        host = os.uname().nodename
        assert box.report(bundle)["hostname"] == "web-1"
        assert os.uname().nodename == host

    @peer_deviates("runc", "1.1 does not know it")
    @peer_deviates("crun", "1.8 does not know it", sometimes=True)
    def test_domainname_is_set(self, box: Box) -> None:
        bundle = box.bundle()
        bundle.config["domainname"] = "example.org"
        assert box.report(bundle)["domainname"] == "example.org"

    def test_without_a_name_it_is_the_hosts(self, box: Box) -> None:
        assert box.report(box.bundle())["hostname"] == os.uname().nodename

    def test_a_hostname_needs_a_uts_namespace(self, box: Box) -> None:
        bundle = box.bundle()
        bundle.drop_namespace("uts")
        bundle.config["hostname"] = "would-rename-the-host"
        box.container(bundle).create().failed()
        assert os.uname().nodename != "would-rename-the-host"


class TestPid:
    """Without a pid namespace of its own the container is a process like others."""

    def test_without_one_the_process_has_a_host_pid(self, box: Box) -> None:
        bundle = box.bundle()
        bundle.drop_namespace("pid")
        report = box.report(bundle)
        assert report["pid"] > 1

    def test_processes_left_behind_die_with_the_container(self, box: Box) -> None:
        container = box.container(None, "/probe", "orphan", "100")
        container.run().ok()

    @peer_deviates("crun", "leaves them", sometimes=True)
    def test_they_die_without_a_pid_namespace_too(self, box: Box) -> None:
        """run removes the cgroup at its end: nothing may go on in it."""
        bundle = box.bundle("/probe", "orphan", "100")
        bundle.drop_namespace("pid")
        box.container(bundle).run()


class TestMountNamespace:
    """Mounts stay inside."""

    def test_the_hosts_mounts_are_the_same_afterwards(self, box: Box) -> None:
        with open("/proc/self/mountinfo") as mounts:
            before = [line for line in mounts if "ocitest" in line]
        container = box.running()
        with open("/proc/self/mountinfo") as mounts:
            assert [line for line in mounts if "ocitest" in line] == before
        container.stop()

    def test_without_one_masked_paths_are_refused(self, box: Box) -> None:
        bundle = box.bundle()
        bundle.drop_namespace("mount")
        bundle.config["mounts"] = []
        bundle.linux["maskedPaths"] = ["/proc/kcore"]
        box.container(bundle).create().failed()

    @peer_deviates("runc", "1.1 needs /proc inside and leaves a mount")
    def test_without_one_the_root_is_still_the_root(self, box: Box) -> None:
        bundle = box.bundle("ls", "/")
        bundle.drop_namespace("mount")
        bundle.config["mounts"] = []
        assert "probe" in box.output(bundle).split()


class TestTime:
    """Time namespaces and their offsets."""

    @peer_deviates("runc", "1.1 does not know them")
    @peer_deviates("crun", "1.8 does not know them", sometimes=True)
    def test_offsets_are_seen_inside(self, box: Box) -> None:
        bundle = box.bundle()
        bundle.set_namespace("time")
        bundle.linux["timeOffsets"] = {"boottime": {"secs": 86400, "nanosecs": 5}}
        report = box.report(bundle)
        assert report["namespaces"]["time"] != own("time")
        offsets = {line.split()[0]: line.split()[1:] for line in report["timens_offsets"]}
        assert offsets["boottime"] == ["86400", "5"]

    def test_offsets_without_a_time_namespace_are_refused(self, box: Box) -> None:
        bundle = box.bundle()
        bundle.linux["timeOffsets"] = {"boottime": {"secs": 1}}
        if box.runtime.name != "ours":
            pytest.xfail("peers of this age ignore the property")
        box.container(bundle).create().failed()
