"""linux.netDevices: devices of the host that move into the container.

Source: runtime-spec config-linux.md#network-devices; docs/runc-compat/init.md#network-devices.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from harness.box import Box
from harness.bundle import Bundle
from harness.needs import needs
from harness.networks import Net

pytestmark = [pytest.mark.integration, needs("root", "ours", "tool ip", "tool nsenter")]

KINDS = ["veth", "macvlan", "ifb", "dummy"]


def with_devices(box: Box, **devices: str) -> Bundle:
    """A bundle that takes devices; each value is the name in the container, "" for the same."""
    bundle = box.bundle("/probe", "wait")
    bundle.linux["netDevices"] = {
        name: {"name": inside} if inside else {} for name, inside in devices.items()
    }
    return bundle


def shell_hook(script: str) -> dict[str, Any]:
    return {"path": "/bin/sh", "args": ["sh", "-c", script]}


def as_it_was(device: dict[str, Any]) -> dict[str, Any]:
    """What is the same of a device before it has gone and after it has come back."""
    kept = ("ifname", "mtu", "address", "ifalias", "master", "ifindex")
    found = {name: device.get(name) for name in kept}
    found["up"] = "UP" in device["flags"]
    found["addresses"] = sorted(
        f"{a['local']}/{a['prefixlen']} {a.get('broadcast')}"
        for a in device["addr_info"]
        if a["scope"] == "global"
    )
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_a_device_moves_with_all_that_it_has(each_way: Box, net: Net, kind: str) -> None:
    net.add(kind)
    if kind != "ifb":  # which keeps the one that it was made with
        net.ip("link", "set", "d0", "address", "02:00:00:00:00:07")
    net.ip("link", "set", "d0", "mtu", "1400", "alias", "an alias")
    hardware = net.devices()["d0"]["address"]
    net.ip("address", "add", "192.0.2.7/24", "broadcast", "192.0.2.255", "dev", "d0")
    net.ip("address", "add", "198.51.100.7/32", "dev", "d0")
    net.ip("address", "add", "2001:db8::7/64", "dev", "d0", "nodad")
    net.ip("address", "add", "192.0.2.8/24", "dev", "d0", "valid_lft", "600", "preferred_lft", "60")
    net.ip("address", "add", "169.254.0.7/16", "scope", "link", "dev", "d0")
    container = each_way.running(with_devices(each_way, d0="eth7"))
    assert "d0" not in net.devices()
    device = net.devices(container.pid)["eth7"]
    assert device["mtu"] == 1400
    assert device["address"] == hardware
    assert device["ifalias"] == "an alias"
    assert "UP" in device["flags"]
    assert net.addresses("eth7", container.pid) == [
        "192.0.2.7/24",
        "198.51.100.7/32",
        "2001:db8::7/64",
    ]
    scopes = {address["scope"] for address in device["addr_info"] if address["family"] == "inet"}
    assert scopes == {"global"}


def test_a_device_keeps_its_name_by_default(box: Box, net: Net) -> None:
    net.add("veth")
    container = box.running(with_devices(box, d0=""))
    assert {"lo", "d0"} <= net.devices(container.pid).keys()


def test_the_kernel_numbers_the_devices_of_a_template(box: Box, net: Net) -> None:
    net.add("veth")
    net.add("ifb", "i0")
    net.add("ifb", "eth1")
    container = box.running(with_devices(box, eth1="", d0="eth%d", i0="eth%d"))
    assert net.devices(container.pid).keys() - {"sit0", "tunl0"} == {"lo", "eth0", "eth1", "eth2"}


def test_two_devices_exchange_their_names(box: Box, net: Net) -> None:
    net.add("ifb", "a0")
    net.add("ifb", "b0")
    net.ip("link", "set", "a0", "alias", "a")
    container = box.running(with_devices(box, a0="b0", b0="a0"))
    devices = net.devices(container.pid)
    assert devices["b0"]["ifalias"] == "a"
    assert "ifalias" not in devices["a0"]


def test_an_alternative_name_finds_the_device(box: Box, net: Net) -> None:
    net.add("ifb")
    net.ip("link", "property", "add", "dev", "d0", "altname", "slot7")
    container = box.running(with_devices(box, slot7="eth0"))
    assert net.devices(container.pid)["eth0"]["altnames"] == ["slot7"]


def test_a_joined_namespace_keeps_the_device(box: Box, net: Net) -> None:
    there = net.namespace("ocirun-net14")
    net.add("veth")
    net.ip("address", "add", "192.0.2.7/24", "dev", "d0")
    bundle = with_devices(box, d0="eth0")
    bundle.set_namespace("network", str(there))
    container = box.running(bundle)
    assert net.addresses("eth0", there) == ["192.0.2.7/24"]
    container.delete("--force").ok()
    assert net.addresses("eth0", there) == ["192.0.2.7/24"]
    assert "d0" not in net.devices()


def test_the_namespace_may_be_of_a_user_namespace(box: Box, net: Net) -> None:
    net.add("veth")
    net.ip("address", "add", "192.0.2.7/24", "dev", "d0")
    bundle = with_devices(box, d0="eth0")
    bundle.use_userns((0, 100000, 65536))
    container = box.running(bundle)
    assert net.addresses("eth0", container.pid) == ["192.0.2.7/24"]


def test_hooks_find_the_device_in_the_container(box: Box, net: Net) -> None:
    net.add("veth")
    bundle = with_devices(box, d0="eth0")
    seen = bundle.path / "seen"
    script = f"pid=$(sed 's/.*\"pid\":\\([0-9]*\\).*/\\1/'); cat /proc/$pid/net/dev > {seen}"
    bundle.config["hooks"] = {"createRuntime": [shell_hook(script)]}
    box.created(bundle)
    assert "eth0" in seen.read_text()


class TestRefused:
    """Each refusal names the device, and leaves all devices as they were."""

    @pytest.fixture
    def before(self, net: Net) -> dict[str, Any]:
        """A device that could move, up and a port of a bridge, before the one that cannot."""
        net.add("veth", "a0")
        net.ip("link", "add", "br0", "type", "bridge")
        net.ip("link", "set", "a0", "mtu", "1400", "master", "br0", "up")
        net.ip("address", "add", "192.0.2.7/24", "broadcast", "192.0.2.255", "dev", "a0")
        net.ip("address", "add", "2001:db8::7/64", "dev", "a0", "nodad")
        net.add("veth")
        return {name: as_it_was(device) for name, device in net.devices().items()}

    def refuse(self, box: Box, net: Net, bundle: Bundle, before: dict[str, Any], text: str) -> None:
        box.container(bundle).create().failed(text)
        after = {name: as_it_was(device) for name, device in net.devices().items()}
        assert after == before

    def test_one_that_is_missing(self, box: Box, net: Net, before: dict[str, Any]) -> None:
        bundle = with_devices(box, a0="eth0", nix0="")
        self.refuse(box, net, bundle, before, "network device nix0 does not exist")

    def test_one_that_cannot_move(self, box: Box, net: Net, before: dict[str, Any]) -> None:
        bundle = with_devices(box, a0="eth0", br0="")
        text = "moving network device br0 into the container as br0: invalid argument"
        self.refuse(box, net, bundle, before, text)

    def test_the_name_lo(self, box: Box, net: Net, before: dict[str, Any]) -> None:
        bundle = with_devices(box, a0="eth0", d0="lo")
        text = (
            "moving network device d0 into the container: there is a network device lo in there "
            "already"
        )
        self.refuse(box, net, bundle, before, text)

    def test_a_name_that_is_taken(self, box: Box, net: Net, before: dict[str, Any]) -> None:
        there = net.namespace("ocirun-net14")
        net.ip("link", "add", "eth1", "netns", "ocirun-net14", "type", "ifb")
        bundle = with_devices(box, a0="eth%d", d0="eth1")
        bundle.set_namespace("network", str(there))
        text = "there is a network device eth1 in there already"
        self.refuse(box, net, bundle, before, text)
        assert "eth0" not in net.devices(there)

    def test_an_alternative_name_that_is_taken(
        self,
        box: Box,
        net: Net,
        before: dict[str, Any],
    ) -> None:
        there = net.namespace("ocirun-net14")
        net.ip("link", "add", "eth1", "netns", "ocirun-net14", "type", "ifb")
        net.ip("link", "property", "add", "dev", "d0", "altname", "eth1")
        bundle = with_devices(box, a0="a%d", d0="eth0")
        bundle.set_namespace("network", str(there))
        text = "moving network device d0 into the container as eth0: file exists"
        self.refuse(box, net, bundle, before, text)

    def test_two_of_one_name(self, box: Box, net: Net, before: dict[str, Any]) -> None:
        bundle = with_devices(box, a0="eth0", d0="eth0")
        self.refuse(box, net, bundle, before, 'two network devices are to be called "eth0"')

    @pytest.mark.parametrize("name", ["e" * 16, "eth%s", "%d%d", "a b"])
    def test_a_name_that_is_none(
        self,
        box: Box,
        net: Net,
        before: dict[str, Any],
        name: str,
    ) -> None:
        self.refuse(
            box, net, with_devices(box, a0="eth0", d0=name), before, "/linux/netDevices/d0/name: "
        )

    def test_a_container_in_the_hosts_network(
        self,
        box: Box,
        net: Net,
        before: dict[str, Any],
    ) -> None:
        bundle = with_devices(box, a0="eth0")
        bundle.set_namespace("network", "/proc/self/ns/net")
        self.refuse(box, net, bundle, before, "the container's network namespace is the host's")
        bundle.drop_namespace("network")
        text = "unable to move network devices without a private NET namespace"
        self.refuse(box, net, bundle, before, text)

    def test_an_ipv6_address_where_there_is_no_ipv6(
        self,
        box: Box,
        net: Net,
        before: dict[str, Any],
    ) -> None:
        there = net.namespace("ocirun-net14")
        off = "echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6"
        subprocess.run(["nsenter", f"--net={there}", "sh", "-c", off], check=True)
        bundle = with_devices(box, d0="", a0="eth0")
        bundle.set_namespace("network", str(there))
        text = "adding 2001:db8::7/64 to network device eth0: permission denied"
        self.refuse(box, net, bundle, before, text)

    @pytest.mark.parametrize("moment", ["createRuntime", "createContainer"])
    def test_a_hook_that_fails(
        self,
        each_way: Box,
        net: Net,
        before: dict[str, Any],
        moment: str,
    ) -> None:
        bundle = with_devices(each_way, a0="eth0", d0="eth%d")
        bundle.config["hooks"] = {moment: [shell_hook("exit 3")]}
        self.refuse(each_way, net, bundle, before, moment)

    def test_a_program_that_is_missing(self, box: Box, net: Net, before: dict[str, Any]) -> None:
        bundle = with_devices(box, a0="d0", d0="a0")
        bundle.process["args"] = ["/no/such/program"]
        self.refuse(box, net, bundle, before, "/no/such/program")


def test_a_program_with_an_event_loop_moves_devices(
    box: Box,
    net: Net,
    tmp_path: Path,
) -> None:
    """pyroute2's own sockets could not be used there."""
    net.add("veth")
    bundle = with_devices(box, d0="eth0")
    bundle.save()
    container = box.container(bundle)
    program = tmp_path / "program.py"
    program.write_text(
        "import asyncio, sys\n"
        "import ocirun\n"
        "async def main():\n"
        "    ocirun.Container.create(sys.argv[1], sys.argv[2], root=sys.argv[3])\n"
        "asyncio.run(main())\n"
    )
    python = Path(box.runtime.path).parent / "python"
    subprocess.run(
        [python, program, container.id, bundle.path, box.runtime.root],
        check=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    assert "eth0" in net.devices(container.pid)
