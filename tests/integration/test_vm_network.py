"""The network of machines: a tap for each device of their network namespace.

Source: docs/vm.md#networks.
"""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path

from harness.box import Box
from harness.machines import BOOT_S, WAIT_S, by_vm, qemu, wait_output
from harness.needs import needs
from harness.networks import Net, call

pytestmark = needs("ours", "root", "machines", "tool ip", "tool tc")

VETH = {"type": "veth", "bridge": "vm-br", "name": "eth1", "pools": ["10.9.0.0/24", "fd09::/64"]}
NETWORK_SCRIPT = """
for name in eth0 eth1; do
    ip -o link show $name | tr -s ' ' '\\n' | grep -A1 -E '^(mtu|link/ether)$'
    ip -o address show $name | awk '{print $3, $4}'
done
ip route; ip -6 route | grep default
cat /etc/resolv.conf
for address in 10.8.0.1 10.9.0.1 fd09::1; do
    ping -c1 -W20 $address >/dev/null && echo heard $address
done
while :; do nc -l -p 99 -e cat; done
"""


def test_a_machine_has_the_network_of_its_namespace(box: Box, net: Net) -> None:
    """A namespace by path with a device of its own (as CNI and podman make it) and one of ocirun's.

    The host talks to the guest over both; of the machine nothing is left in the namespace.
    """
    there = net.namespace("ocirun-vm")
    peer = ("peer", "name", "eth0", "netns", there.name)
    net.ip("link", "add", "name", "near", "mtu", "1400", "type", "veth", *peer)
    net.ip("address", "add", "10.8.0.1/24", "dev", "near")
    net.ip("link", "set", "near", "up")
    for words in (
        "address add 10.8.0.2/24 dev eth0",
        "link set eth0 mtu 1400 up",
        "route add default via 10.8.0.1 metric 7",
        "route add 10.7.0.0/16 dev eth0",
    ):
        net.ip("-n", there.name, *words.split())
    container = box.container(None, "sh", "-c", NETWORK_SCRIPT)
    bundle = container.bundle
    bundle.linux["namespaces"] = [
        {"type": n["type"], "path": str(there)} if n["type"] == "network" else n
        for n in bundle.linux["namespaces"]
    ]
    networks = [VETH | {"gateways": [], "dns": {"nameservers": ["192.0.2.53"]}}]
    bundle.config["annotations"] = {"org.ocirun.networks": json.dumps(networks)}
    before = net.state()
    by_vm(container, "create").ok()
    devices = net.devices(there)
    taps = [name for name in devices if name.startswith("ocirun-tap")]
    assert len(taps) == 2
    container.start(timeout=WAIT_S).ok()
    wait_output(container, "heard fd09::1")
    lines = container.output.splitlines()
    for name, address in (("eth0", "10.8.0.2/24"), ("eth1", "10.9.0.2/24"), ("eth1", "fd09::2/64")):
        assert devices[name]["address"] in lines
        assert f"{'inet6' if ':' in address else 'inet'} {address}" in lines
    for line in (
        "1400",
        "default via 10.8.0.1 dev eth0  metric 7 ",
        "heard 10.8.0.1",
        "heard 10.9.0.1",
        "10.7.0.0/16 dev eth0 scope link ",
        "nameserver 192.0.2.53",
    ):
        assert line in lines
    assert _echo(("10.8.0.2", 99), b"x" * 50_000) == 50_000
    container.kill("KILL").ok()
    container.delete().ok()
    assert [name for name in net.devices(there) if name.startswith("ocirun-tap")] == []
    assert "ingress" not in call("tc", "-n", there.name, "qdisc")
    assert net.state() == before


def _echo(address: tuple[str, int], data: bytes) -> int:
    """Send data to a server that sends it back; return how many bytes came."""
    end = time.monotonic() + WAIT_S
    while True:
        try:
            connection = socket.create_connection(address, WAIT_S)
            break
        except ConnectionRefusedError:
            assert time.monotonic() < end
            time.sleep(0.1)
    received = 0
    with connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        while found := connection.recv(65536):
            received += len(found)
    return received


def test_a_network_that_a_machine_cannot_have_is_one_sentence(box: Box, net: Net) -> None:
    """And it leaves nothing: no device, qdisc, bridge or tap."""
    there = net.namespace("ocirun-vm")
    net.ip("link", "add", "name", "near", "type", "veth", "peer", "name", "far")
    net.ip("link", "set", "far", "netns", there.name)
    net.ip("-n", there.name, "link", "set", "far", "up")

    def qdiscs() -> str:
        return call("tc", "-n", there.name, "qdisc")

    before = net.state(), net.devices(there), qdiscs()
    networks = json.dumps([VETH])

    def refused(path: str | Path, sentence: str, networks: str = "[]") -> None:
        container = box.container()
        namespace = {"type": "network"} | ({"path": str(path)} if path else {})
        others = [n for n in container.bundle.linux["namespaces"] if n["type"] != "network"]
        container.bundle.linux["namespaces"] = [*others, namespace]
        container.bundle.config["annotations"] = {
            "org.ocirun.networks": networks,
            "org.ocirun.vm.boot-seconds": "2",
        }
        container.bundle.config["vm"] = {"hypervisor": {"path": qemu(), "parameters": ["-S"]}}
        container.create(timeout=BOOT_S).failed(sentence)
        assert (net.state(), net.devices(there), qdiscs()) == before

    refused("", "has not booted in 2 s", networks)  # a namespace of its own, and the bridge
    refused(there, "has not booted in 2 s", networks)
    refused("/proc/self/ns/net", "/proc/self/ns/net is the host's")
    call("tc", "-n", there.name, "qdisc", "add", "dev", "far", "ingress")
    before = net.state(), net.devices(there), qdiscs()
    refused(there, "network device far has an ingress qdisc already: another machine's?")
    call("tc", "-n", there.name, "qdisc", "delete", "dev", "far", "ingress")
    net.ip("-n", there.name, "tuntap", "add", "tun0", "mode", "tun")
    net.ip("-n", there.name, "link", "set", "tun0", "up")
    before = net.state(), net.devices(there), qdiscs()
    refused(there, "network device tun0 is no Ethernet, which machines have")
    net.ip("-n", there.name, "link", "delete", "tun0")
    before = net.state(), net.devices(there), qdiscs()
    hidden = Path("/dev/net/tun")  # the test's own /dev
    hidden.rename("/dev/net/hidden")
    try:
        refused(there, "opening /dev/net/tun for network device far: no such file or directory")
    finally:
        Path("/dev/net/hidden").rename(hidden)
