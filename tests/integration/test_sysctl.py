"""Kernel parameters of the container's namespaces.

Source: runtime-spec config-linux.md#sysctl; docs/runc-compat/init.md#validation.
"""

from __future__ import annotations

import os
import subprocess

import pytest
from harness.box import Box
from harness.needs import needs
from harness.peers import peer_deviates


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("kernel.msgmax", "65536"),
        ("kernel.shm_rmid_forced", "1"),
        ("fs.mqueue.msg_max", "100"),
        ("net.ipv4.ip_forward", "1"),
        ("net.ipv4.conf.lo.forwarding", "1"),
        ("kernel.domainname", "example.org"),
    ],
)
def test_one_of_a_namespace_of_its_own(box: Box, key: str, value: str) -> None:
    bundle = box.bundle("cat", "/proc/sys/" + key.replace(".", "/"))
    bundle.linux["sysctl"] = {key: value}
    host = open("/proc/sys/" + key.replace(".", "/")).read()  # noqa: SIM115
    assert box.output(bundle).strip() == value
    assert open("/proc/sys/" + key.replace(".", "/")).read() == host  # noqa: SIM115


def test_a_key_may_be_spelled_with_slashes(box: Box) -> None:
    bundle = box.bundle("cat", "/proc/sys/net/ipv4/ip_forward")
    bundle.linux["sysctl"] = {"net/ipv4/ip_forward": "1"}
    assert box.output(bundle) == "1\n"


def test_several_at_once(box: Box) -> None:
    bundle = box.bundle("cat", "/proc/sys/kernel/sem", "/proc/sys/kernel/msgmnb")
    bundle.linux["sysctl"] = {"kernel.sem": "100 200 30 400", "kernel.msgmnb": "4096"}
    assert box.output(bundle).split() == ["100", "200", "30", "400", "4096"]


def test_it_is_set_before_proc_sys_becomes_read_only(box: Box) -> None:
    bundle = box.bundle("cat", "/proc/sys/kernel/msgmax")
    bundle.linux["sysctl"] = {"kernel.msgmax": "1234"}
    bundle.linux["readonlyPaths"] = ["/proc/sys"]
    assert box.output(bundle) == "1234\n"


@pytest.mark.parametrize(
    "key", ["kernel.pid_max", "vm.swappiness", "fs.file-max", "kernel.core_pattern", "nonsense"]
)
def test_one_of_the_whole_machine_is_refused(box: Box, key: str) -> None:
    bundle = box.bundle()
    bundle.linux["sysctl"] = {key: "1"}
    box.container(bundle).create().failed(key)


@pytest.mark.parametrize(
    ("namespace", "key"),
    [("ipc", "kernel.msgmax"), ("network", "net.ipv4.ip_forward"), ("uts", "kernel.domainname")],
)
def test_one_needs_its_namespace(box: Box, namespace: str, key: str) -> None:
    bundle = box.bundle()
    bundle.drop_namespace(namespace)
    bundle.linux["sysctl"] = {key: "1"}
    box.container(bundle).create().failed(key)


@peer_deviates("crun", "1.8 takes the host's")
def test_net_needs_a_namespace_that_is_not_the_hosts(box: Box) -> None:
    bundle = box.bundle()
    bundle.set_namespace("network", f"/proc/{os.getpid()}/ns/net")
    with open("/proc/sys/net/ipv4/ip_forward") as host:
        # What it is already: a runtime that takes it for the container's changes the host.
        bundle.linux["sysctl"] = {"net.ipv4.ip_forward": host.read().strip()}
    box.container(bundle).create().failed("net.ipv4.ip_forward")


def test_the_hostname_has_a_property_of_its_own(box: Box) -> None:
    bundle = box.bundle()
    bundle.linux["sysctl"] = {"kernel.hostname": "x"}
    box.container(bundle).create().failed("kernel.hostname")


@pytest.mark.parametrize("key", ["net.ipv4.no_such_key", "net.../../kernel/pid_max"])
def test_one_that_does_not_exist_is_an_error(box: Box, key: str) -> None:
    bundle = box.bundle()
    bundle.linux["sysctl"] = {key: "1"}
    box.container(bundle).create().failed()


@peer_deviates("crun", "spells it in capitals")
def test_a_value_the_kernel_refuses_is_an_error(box: Box) -> None:
    bundle = box.bundle()
    bundle.linux["sysctl"] = {"kernel.msgmax": "many"}
    box.container(bundle).create().failed("invalid argument")


class TestNamespaces:
    """Which namespace holds which parameter."""

    @needs("userns")
    @peer_deviates("runc", "1.1 does not know user.*")
    @peer_deviates("crun", "does not know user.*")
    @pytest.mark.parametrize("key", ["user.max_mnt_namespaces", "user/max_mnt_namespaces"])
    def test_the_user_namespaces_own(self, box: Box, key: str) -> None:
        bundle = box.bundle("cat", "/proc/sys/user/max_mnt_namespaces")
        bundle.use_userns((0, 100000, 65536))
        bundle.linux["sysctl"] = {key: "77"}
        assert box.output(bundle) == "77\n"

    def test_user_needs_a_user_namespace(self, box: Box) -> None:
        bundle = box.bundle()
        bundle.linux["sysctl"] = {"user.max_mnt_namespaces": "77"}
        box.container(bundle).create().failed("user.max_mnt_namespaces")

    @needs("userns")
    def test_net_in_a_user_namespace(self, box: Box) -> None:
        bundle = box.bundle("cat", "/proc/sys/net/ipv4/ip_forward")
        bundle.use_userns((0, 100000, 65536))
        bundle.linux["sysctl"] = {"net.ipv4.ip_forward": "1"}
        assert box.output(bundle) == "1\n"

    def test_net_in_a_namespace_that_is_joined(self, box: Box) -> None:
        """As a pod's containers do; it is not the host's."""
        pod = box.running()
        bundle = box.bundle("cat", "/proc/sys/net/ipv4/ip_forward")
        bundle.set_namespace("network", f"/proc/{pod.pid}/ns/net")
        bundle.linux["sysctl"] = {"net.ipv4.ip_forward": "1"}
        assert box.output(bundle) == "1\n"

    def test_ipc_in_a_namespace_that_is_joined(self, box: Box) -> None:
        pod = box.running()
        bundle = box.bundle("cat", "/proc/sys/kernel/msgmax")
        bundle.set_namespace("ipc", f"/proc/{pod.pid}/ns/ipc")
        bundle.linux["sysctl"] = {"kernel/msgmax": "4321"}
        assert box.output(bundle) == "4321\n"

    @pytest.mark.parametrize("key", ["kernel/hostname", "kernel.hostname"])
    def test_the_hostname_in_both_spellings(self, box: Box, key: str) -> None:
        bundle = box.bundle()
        bundle.linux["sysctl"] = {key: "x"}
        if box.runtime.name != "ours" and "/" in key:
            pytest.xfail("the peers look at one spelling")
        box.container(bundle).create().failed("hostname")

    @needs("tool ip")
    @peer_deviates("runc", "1.1 takes every dot for a slash")
    @peer_deviates("crun", "takes every dot for a slash")
    def test_an_interface_with_a_dot_in_its_name(self, box: Box) -> None:
        """The first separator decides which of both separates (sysctl.d(5))."""
        pod = box.running()
        enter = ["nsenter", f"--net=/proc/{pod.pid}/ns/net", "ip", "link", "add", "a.b"]
        subprocess.run([*enter, "type", "veth", "peer", "name", "other"], check=True)
        for key, value in (
            ("net.ipv4.conf.a/b.rp_filter", "2"),
            ("net/ipv4/conf/a.b/rp_filter", "1"),
        ):
            bundle = box.bundle("cat", "/proc/sys/net/ipv4/conf/a.b/rp_filter")
            bundle.set_namespace("network", f"/proc/{pod.pid}/ns/net")
            bundle.linux["sysctl"] = {key: value}
            assert box.output(bundle) == f"{value}\n"
