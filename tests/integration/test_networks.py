"""The annotation org.ocirun.networks: devices that are made for a container.

Source: docs/network.md#networks.
"""

from __future__ import annotations

import json
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from harness.box import Box, Container
from harness.bundle import Bundle
from harness.needs import needs
from harness.networks import FORWARDING, Net, call, tables

import ocirun

pytestmark = [pytest.mark.integration, needs("root", "ours", "tool ip", "tool nsenter")]

VETH = {"type": "veth", "bridge": "oci0", "pools": ["10.9.0.0/24", "fd09::/64"]}

MASQUERADE = {"masquerade": True}


def networked(box: Box, *networks: dict[str, Any]) -> Bundle:
    granted = ["CAP_NET_RAW", "CAP_NET_BIND_SERVICE"]
    sets = ("bounding", "effective", "permitted")
    bundle = box.bundle("/probe", "wait", capabilities=dict.fromkeys(sets, granted))
    bundle.config["annotations"] = {"org.ocirun.networks": json.dumps(networks)}
    return bundle


def pings(container: Container, address: str, *flags: str) -> bool:
    return container.exec("/bin/busybox", "ping", "-c1", "-W2", *flags, address).status == 0


def test_two_containers_and_the_host_reach_each_other(each_way: Box, net: Net) -> None:
    box = each_way
    first = box.running(networked(box, VETH))
    second = box.running(networked(box, VETH))
    assert net.addresses("eth0", first.pid) == ["10.9.0.2/24", "fd09::2/64"]
    assert net.addresses("eth0", second.pid) == ["10.9.0.3/24", "fd09::3/64"]
    assert net.addresses("oci0") == ["10.9.0.1/24", "fd09::1/64"]
    for address in ("10.9.0.3", "10.9.0.1", "fd09::3", "fd09::1"):
        assert pings(first, address), address
    call("busybox", "ping", "-c1", "-W2", "10.9.0.2")
    second.exec("sh", "-c", "echo a page > /tmp/page; busybox httpd -p 80 -h /tmp").ok()
    page = ("/bin/busybox", "wget", "-qO-", "http://10.9.0.3/page")
    assert first.exec(*page).ok().stdout == "a page\n"
    routes = call("nsenter", f"--net=/proc/{first.pid}/ns/net", "ip", "route")
    assert "default via 10.9.0.1 dev eth0" in routes
    first.delete("--force").ok()
    assert "oci0" in net.devices()
    third = box.running(networked(box, VETH))
    assert net.addresses("eth0", third.pid) == ["10.9.0.2/24", "fd09::2/64"]


def test_a_spec_of_the_library_has_networks(box: Box, net: Net) -> None:
    before = net.state()
    root = str(box.runtime.root)
    words = ["/bin/busybox", "ip", "-o", "-4", "address", "show", "dev", "eth0"]
    spec = ocirun.Spec(words, box.bundle().rootfs, network=[VETH])
    done = ocirun.run(config=spec, root=root, capture_output=True, text=True, timeout=20)
    assert done.returncode == 0
    assert "10.9.0.2/24" in done.stdout
    with pytest.raises(ocirun.SpecError, match="bridges"):
        ocirun.run(config=spec.network([{"type": "veth", "bridges": "x"}]), root=root)
    assert net.state() == before


def test_delete_leaves_nothing(box: Box, net: Net) -> None:
    before = net.state()
    first, second = (box.created(networked(box, VETH)) for _ in range(2))
    first.delete().ok()
    second.start().ok()
    second.stop()
    assert "oci0" in net.devices()
    second.delete().ok()
    assert net.state() == before


def test_the_list_of_docker_0_11_is_taken_as_it_is(box: Box, net: Net) -> None:
    container = box.running(
        networked(
            box,
            {"type": "loopback", "address": "127.0.0.1/0", "gateway": "localhost", "mtu": 1500},
            {
                "type": "veth",
                "context": {"bridge": "docker0", "prefix": "veth"},
                "address": "172.17.0.2/16",
                "gateway": "172.17.42.1",
                "mtu": 1400,
            },
        )
    )
    assert net.addresses("eth0", container.pid) == ["172.17.0.2/16"]
    assert net.devices(container.pid)["eth0"]["mtu"] == 1400
    assert net.addresses("docker0") == ["172.17.42.1/16"]
    assert pings(container, "172.17.42.1", "-s1372")
    words = ("nsenter", f"--net=/proc/{container.pid}/ns/net", "python3", "-c", DATAGRAM)
    assert call(*words, "172.17.42.1", "1372") == "sent\n"
    assert call(*words, "172.17.42.1", "1373") == "EMSGSIZE\n"


def test_a_bridge_of_somebody_else_stays_as_it_is(box: Box, net: Net) -> None:
    net.ip("link", "add", "mine", "address", "02:00:00:00:00:01", "type", "bridge")
    net.ip("address", "add", "10.9.0.9/24", "dev", "mine")
    net.ip("link", "set", "mine", "up")
    before = net.state()
    container = box.running(networked(box, {**VETH, "bridge": "mine", "pools": ["10.9.0.0/24"]}))
    assert net.addresses("mine") == ["10.9.0.9/24"]
    assert pings(container, "10.9.0.9")
    container.delete("--force").ok()
    assert net.state() == before


@pytest.mark.parametrize("mode", ["bridge", "private"])
def test_macvlans_share_a_device_of_the_host(box: Box, net: Net, mode: str) -> None:
    net.add("veth", "up0")
    net.ip("address", "add", "10.8.0.1/24", "dev", "up0p")
    for name in ("up0", "up0p"):
        net.ip("link", "set", name, "up")
    before = net.state()
    network = {"type": "macvlan", "parent": "up0", "mode": mode, "pools": ["10.8.0.0/29"]}
    first = box.running(networked(box, {**network, "gateway": "10.8.0.1"}))
    second = box.running(networked(box, {**network, "name": "lan", "gateway": "10.8.0.1"}))
    assert net.addresses("eth0", first.pid) == ["10.8.0.2/29"]
    assert net.addresses("lan", second.pid) == ["10.8.0.3/29"]
    assert pings(first, "10.8.0.1")
    assert pings(first, "10.8.0.3") == (mode == "bridge")
    for container in (first, second):
        container.delete("--force").ok()
    assert net.state() == before


@pytest.mark.parametrize(
    "network", [VETH, {"type": "macvlan", "parent": "up0", "addresses": ["10.9.0.2/24"]}]
)
def test_a_joined_namespace_is_left_as_it_was(box: Box, net: Net, network: dict[str, Any]) -> None:
    there = net.namespace("ocirun-net14")
    net.add("veth", "up0")
    before = net.state(), set(net.devices(there))
    bundle = networked(box, {"type": "loopback"}, network)
    bundle.set_namespace("network", str(there))
    container = box.running(bundle)
    assert "10.9.0.2/24" in net.addresses("eth0", there)
    assert "UP" in net.devices(there)["lo"]["flags"]
    container.delete("--force").ok()
    assert (net.state(), set(net.devices(there))) == before


def test_the_namespace_may_be_of_a_user_namespace(box: Box, net: Net) -> None:  # noqa: ARG001
    bundle = networked(box, VETH)
    bundle.use_userns((0, 100000, 65536))
    assert pings(box.running(bundle), "10.9.0.1")


class TestRefused:
    """Each refusal says what is wrong, and leaves nothing."""

    def refuse(self, box: Box, net: Net, text: str, *networks: dict[str, Any]) -> None:
        before = net.state()
        box.container(networked(box, *networks)).create().failed(text)
        assert net.state() == before

    @pytest.mark.parametrize(
        ("network", "text"),
        [
            ({"type": "carrier pigeon"}, '"carrier pigeon" is not a network type'),
            ({}, "/0/type: "),
            ({"type": "veth"}, "/0/bridge: is missing"),
            ({"type": "macvlan"}, "/0/parent: is missing"),
            ({**VETH, "bridge": "a/b"}, '/0/bridge: invalid network device name "a/b"'),
            ({**VETH, "name": "x" * 16}, "/0/name: invalid network device name"),
            ({**VETH, "prefix": "too-long"}, "/0/prefix: "),
            ({**VETH, "parent": "eth0"}, "/0/parent: is no member of a network of type veth"),
            ({**VETH, "addresses": ["10.9.0.300/24"]}, "/0/addresses: '10.9.0.300/24' does not"),
            ({**VETH, "pools": ["10.9.0.1/24"]}, "/0/pools: 10.9.0.1/24 has host bits set"),
            ({**VETH, "pools": ["10.9.0.0/24", "10.7.0.0/24"]}, "two subnets of one family"),
            ({**VETH, "gateway": "192.0.2.1"}, "/0/gateways: 192.0.2.1 is in no subnet"),
            ({**VETH, "mtu": 20}, "/0/mtu: "),
            ({**VETH, "name": "lo"}, "two network devices are to have one name"),
        ],
    )
    def test_what_is_no_network_is_named(
        self, box: Box, net: Net, network: dict[str, Any], text: str
    ) -> None:
        self.refuse(box, net, text, network)

    def test_what_is_no_list_is_refused(self, box: Box, net: Net) -> None:  # noqa: ARG002
        bundle = networked(box)
        for text, words in (("{}", "must be a list of networks"), ("[", "is not JSON")):
            bundle.config["annotations"]["org.ocirun.networks"] = text
            box.container(bundle).create().failed(f"/annotations/org.ocirun.networks: {words}")

    def test_a_container_in_the_hosts_network(self, box: Box, net: Net) -> None:
        before = net.state()
        bundle = networked(box, VETH)
        bundle.set_namespace("network", "/proc/self/ns/net")
        text = "the container's network namespace is the host's"
        box.container(bundle).create().failed(text)
        bundle.drop_namespace("network")
        box.container(bundle).create().failed("needs a network namespace")
        assert net.state() == before

    def test_an_address_that_is_taken(self, box: Box, net: Net) -> None:
        box.created(networked(box, VETH))
        for address in ("10.9.0.2/24", "10.9.0.1/24"):
            network = {**VETH, "addresses": [address], "pools": [], "gateway": "10.9.0.1"}
            text = "10.9.0.2 is taken on oci0" if address == "10.9.0.2/24" else "own address"
            self.refuse(box, net, text, network)

    def test_a_pool_that_has_none_left(self, box: Box, net: Net) -> None:
        small = {**VETH, "pools": ["10.9.0.0/30"]}
        box.created(networked(box, small))
        self.refuse(box, net, "pool 10.9.0.0/30 has no free address", small)

    def test_a_subnet_that_the_host_has_elsewhere(self, box: Box, net: Net) -> None:
        net.add("veth")
        net.ip("address", "add", "10.9.1.1/16", "dev", "d0")
        self.refuse(box, net, "subnet 10.9.0.0/24 of bridge oci0 is in use on d0", VETH)

    def test_a_device_that_is_no_bridge(self, box: Box, net: Net) -> None:
        net.add("veth")
        self.refuse(box, net, "network device d0 is not a bridge", {**VETH, "bridge": "d0"})

    def test_a_parent_that_is_not_there(self, box: Box, net: Net) -> None:
        network = {"type": "macvlan", "parent": "nix0"}
        self.refuse(box, net, "network device nix0 does not exist", network)

    def test_a_second_default_route(self, box: Box, net: Net) -> None:
        other = {**VETH, "bridge": "oci1", "pools": ["10.7.0.0/24"]}
        text = "adding the default route through 10.7.0.1: file exists"
        self.refuse(box, net, text, VETH, other)

    def test_a_program_that_is_missing(self, box: Box, net: Net) -> None:
        before = net.state()
        bundle = networked(box, VETH)
        bundle.process["args"] = ["/no/such/program"]
        box.container(bundle).create().failed("/no/such/program")
        assert net.state() == before


def test_many_at_once_get_addresses_of_their_own(box: Box, net: Net) -> None:
    before = net.state()
    bundle = networked(box, VETH)
    bundle.save()
    containers = [box.container(bundle) for _ in range(50)]
    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(one.create, bundle=None) for one in containers]:
            done.result().ok()
        found = [net.addresses("eth0", one.pid)[0] for one in containers]
        assert len(set(found)) == 50
        for done in [pool.submit(one.delete) for one in containers]:
            done.result().ok()
    assert net.state() == before


def test_delete_finds_all_that_a_killed_create_has_made(box: Box, net: Net) -> None:
    """The parent is killed before each message that changes something, and after the last."""
    before = net.state()
    python = Path(box.runtime.path).parent / "python"
    program = box.folder / "killed.py"
    program.write_text(KILLED)
    bundle = networked(box, VETH | MASQUERADE | {"ports": [{"host": 8080}]})
    bundle.save()
    for number in range(30):
        container = box.container(bundle)
        words = (container.id, bundle.path, box.runtime.root, str(number))
        done = subprocess.run([python, program, *words], check=False, stdin=subprocess.DEVNULL)
        container.delete("--force").ok()
        assert net.state() == before, number
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL
    assert 10 < number < 29


class TestMasquerade:
    """What leaves the host has the host's address, as long as somebody asks for that."""

    WORLD = ("203.0.113.2/24", "2001:db8::2/64")

    def test_the_world_answers_only_who_is_masqueraded(self, box: Box, net: Net) -> None:
        net.outside(*self.WORLD)
        call("iptables", "-t", "nat", "-A", "POSTROUTING", "-d", "192.0.2.1", "-j", "ACCEPT")
        before = net.state()
        plain = box.running(networked(box, VETH))
        assert not pings(plain, "203.0.113.2")
        first, second = (box.running(networked(box, VETH | MASQUERADE)) for _ in range(2))
        for address in ("203.0.113.2", "2001:db8::2"):
            assert pings(first, address), address
        assert pings(first, "10.9.0.2")
        first.delete("--force").ok()
        assert pings(second, "203.0.113.2")
        second.delete("--force").ok()
        assert not pings(plain, "203.0.113.2")
        plain.delete("--force").ok()
        assert net.state() == before

    def test_forwarding_that_was_on_stays_on(self, box: Box, net: Net) -> None:
        FORWARDING[0].write_text("1")
        container = box.created(networked(box, VETH | MASQUERADE))
        assert [path.read_text() for path in FORWARDING] == ["1\n", "1\n"]
        container.delete().ok()
        assert [path.read_text() for path in FORWARDING] == ["1\n", "0\n"]
        assert tables() == []
        assert net.devices().keys() & {"oci0"} == set()

    def test_bridges_come_and_go_by_themselves(self, box: Box, net: Net) -> None:
        net.outside(*self.WORLD)
        other = {"type": "veth", "bridge": "oci1", "pools": ["10.7.0.0/24"]} | MASQUERADE
        first = box.running(networked(box, VETH | MASQUERADE))
        second = box.running(networked(box, other))
        assert [name.rpartition("-")[0] for name in tables()] == ["ocirun-oci0", "ocirun-oci1"]
        first.delete("--force").ok()
        assert pings(second, "203.0.113.2")
        second.delete("--force").ok()
        assert tables() == []
        assert FORWARDING[0].read_text() == "0\n"

    def test_a_failed_create_takes_it_back(self, box: Box, net: Net) -> None:
        before = net.state()
        bundle = networked(box, VETH | MASQUERADE)
        bundle.process["args"] = ["/no/such/program"]
        box.container(bundle).create().failed("/no/such/program")
        assert net.state() == before


# Sends so much in one packet that may not be cut.
DATAGRAM = """
import errno, socket, sys
IP_MTU_DISCOVER, IP_PMTUDISC_DO = 10, 2
one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
one.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO)
try:
    one.sendto(bytes(int(sys.argv[2])), (sys.argv[1], 9))
    print("sent")
except OSError as error:
    print(errno.errorcode[error.errno])
"""

KILLED = """
import os, signal, sys
import ocirun
from ocirun.network.netlink import Netlink

left = [int(sys.argv[4])]


def or_die(change):
    def wrapped(*arguments):
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)
        left[0] -= 1
        change(*arguments)

    return wrapped


Netlink.change, Netlink.transact = or_die(Netlink.change), or_die(Netlink.transact)
ocirun.Container.create(sys.argv[1], sys.argv[2], root=sys.argv[3])
"""
