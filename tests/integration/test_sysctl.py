"""Kernel parameters of the container's namespaces.

Source: runtime-spec config-linux.md#sysctl; contract 3.6.
"""

from __future__ import annotations

import os

import pytest
from harness.box import Box
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


def test_net_needs_a_namespace_that_is_not_the_hosts(box: Box) -> None:
    bundle = box.bundle()
    bundle.set_namespace("network", f"/proc/{os.getpid()}/ns/net")
    bundle.linux["sysctl"] = {"net.ipv4.ip_forward": "0"}
    box.container(bundle).create().failed("net.ipv4.ip_forward")


@peer_deviates("crun", "sets it")
def test_the_hostname_has_a_property_of_its_own(box: Box) -> None:
    bundle = box.bundle()
    bundle.linux["sysctl"] = {"kernel.hostname": "x"}
    box.container(bundle).create().failed("kernel.hostname")


@pytest.mark.parametrize("key", ["net.ipv4.no_such_key", "net.../../kernel/pid_max"])
def test_one_that_does_not_exist_is_an_error(box: Box, key: str) -> None:
    bundle = box.bundle()
    bundle.linux["sysctl"] = {key: "1"}
    box.container(bundle).create().failed()


def test_a_value_the_kernel_refuses_is_an_error(box: Box) -> None:
    bundle = box.bundle()
    bundle.linux["sysctl"] = {"kernel.msgmax": "many"}
    box.container(bundle).create().failed("invalid argument")
