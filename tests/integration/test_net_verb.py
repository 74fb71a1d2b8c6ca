"""`ocirun net`: what containers hold, and what nobody holds any more.

Source: docs/network.md#looking-and-cleaning-up.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from harness.box import Box
from harness.bundle import Bundle
from harness.needs import needs
from harness.networks import FORWARDING, Net, call, tables

pytestmark = [pytest.mark.integration, needs("root", "ours", "tool ip", "tool nsenter")]

VETH = {
    "type": "veth",
    "bridge": "oci0",
    "pools": ["10.9.0.0/24"],
    "masquerade": True,
    "ports": [{"host": 8080, "container": 80, "address": "127.0.0.1"}],
}


def networked(box: Box, *networks: dict[str, Any]) -> Bundle:
    bundle = box.bundle("/probe", "wait")
    bundle.config["annotations"] = {"org.ocirun.networks": json.dumps(networks)}
    return bundle


def listed(box: Box) -> Any:  # noqa: ANN401
    return box.runtime.call("net", "ls", "--format", "json").ok().json()


def test_all_that_containers_hold_is_listed(box: Box, net: Net) -> None:
    assert listed(box) == []
    net.add("ifb", "d0")
    net.add("ifb", "up0")
    web = box.created(networked(box, VETH))
    lan = networked(box, {"type": "macvlan", "parent": "up0", "addresses": ["10.8.0.9/24"]})
    lan.linux["netDevices"] = {"d0": {"name": "data0"}}
    other = box.running(lan)
    box.created(box.bundle("/probe", "wait"))
    found = {entry["id"]: entry for entry in listed(box)}
    assert found.keys() == {web.id, other.id}
    (veth,) = found[web.id]["networks"]
    assert veth["host"] in net.devices()
    assert (found[web.id]["status"], found[other.id]["status"]) == ("created", "running")
    port = {"host": 8080, "container": 80, "count": 1, "protocol": "tcp", "address": "127.0.0.1"}
    assert veth | {"host": ""} == {
        "type": "veth",
        "name": "eth0",
        "host": "",
        "bridge": "oci0",
        "addresses": ["10.9.0.2/24"],
        "gateways": ["10.9.0.1"],
        "ports": [port],
    }
    assert found[other.id]["networks"] == [
        {"type": "macvlan", "name": "eth0", "parent": "up0", "addresses": ["10.8.0.9/24"]},
        {"type": "netDevices", "name": "data0", "host": "d0"},
    ]
    title, *rows = box.runtime.call("net", "ls").ok().stdout.splitlines()
    assert title.split() == ["ID", "STATUS", "TYPE", "DEVICE", "HOST", "ADDRESSES", "PORTS"]
    assert [row.split() for row in rows] == [
        [
            *(web.id, "created", "veth", "eth0", f"{veth['host']}@oci0", "10.9.0.2/24"),
            "127.0.0.1:8080->80/tcp",
        ],
        [other.id, "running", "macvlan", "eth0", "up0", "10.8.0.9/24"],
        [other.id, "running", "netDevices", "data0", "d0"],
    ]


def test_one_container_is_inspected(box: Box, net: Net) -> None:
    web = box.created(networked(box, VETH))
    words = ("net", "inspect", "--format", "json", web.id)
    entry = box.runtime.call(*words).ok().json()
    (network,) = entry["networks"]
    assert network["present"]
    assert network["masquerade"]
    assert network["sysctls"]["ipv4/ip_forward"] == "0"
    text = box.runtime.call("net", "inspect", web.id).ok().stdout
    assert f"host              {network['host']}\n" in text
    assert "ports             127.0.0.1:8080->80/tcp\n" in text
    net.ip("link", "delete", network["host"])
    assert not box.runtime.call(*words).ok().json()["networks"][0]["present"]


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("list",), 'expected "ls", "inspect" or "prune"'),
        (("inspect",), "expected the ID of a container"),
        (("ls", "web"), '"net ls" takes no ID'),
        (("inspect", "nobody"), "container does not exist"),
    ],
)
def test_other_words_are_refused(box: Box, net: Net, words: tuple[str, ...], text: str) -> None:  # noqa: ARG001
    box.runtime.call("net", *words).failed(text)


def test_delete_finds_networks_without_any_other_record(box: Box, net: Net) -> None:
    before = net.state()
    lost = box.created(networked(box, VETH))
    ghost = Path(box.runtime.root, "ghost")
    ghost.mkdir(mode=0o700)
    Path(box.runtime.root, lost.id, "networks.json").rename(ghost / "networks.json")
    lost.delete().ok()
    assert "oci0" in net.devices()
    box.runtime.call("delete", "--force", "ghost").ok()
    assert net.state() == before
    assert not ghost.exists()


class TestPrune:
    """What is left over goes, what somebody holds stays, and so does what is not ours."""

    def prune(self, box: Box) -> list[str]:
        return box.runtime.call("net", "prune").ok().stdout.splitlines()

    def test_what_a_stopped_container_held(self, box: Box, net: Net) -> None:
        before = net.state()
        assert self.prune(box) == []
        first, second = (box.running(networked(box, VETH | {"ports": []})) for _ in range(2))
        first.stop()
        assert self.prune(box) == [f"removed the networks of container {first.id}"]
        assert self.prune(box) == []
        assert [entry["id"] for entry in listed(box)] == [second.id]
        third = box.created(networked(box, VETH))
        assert net.addresses("eth0", third.pid) == ["10.9.0.2/24"]
        for container in (first, second, third):
            container.delete("--force").ok()
        assert net.state() == before

    def test_what_is_in_no_record(self, box: Box, net: Net) -> None:
        """In a namespace that stays, so that the kernel removes nothing by itself."""
        there = net.namespace("ocirun-net14")
        net.add("veth", "vethdeadbeef")
        net.ip("link", "set", "vethdeadbeef", "alias", "ocirun-000000000000 web")
        net.ip("link", "add", "mine", "address", "02:00:00:00:00:01", "type", "bridge")
        call("iptables", "-t", "nat", "-A", "POSTROUTING", "-d", "192.0.2.1", "-j", "ACCEPT")
        with box.other_root():
            other = VETH | {"bridge": "oci1", "pools": ["10.7.0.0/24"], "ports": [{"host": 81}]}
            kept = box.running(networked(box, other))
        before, inside = net.state(), net.devices(there).keys()
        bundle = networked(box, VETH)
        bundle.set_namespace("network", str(there))
        lost = box.running(bundle)
        record = Path(box.runtime.root, lost.id, "networks.json")
        record.unlink()
        lost.delete("--force").ok()
        assert len(tables()) == 3
        assert "oci0" in net.devices()
        lines = self.prune(box)
        assert net.state() == before
        assert net.devices(there).keys() == inside
        assert [line.rsplit(" ", 1)[0] for line in lines] == [
            *("removed the bridge device", "removed the veth device"),
            "removed the nftables table",
        ]
        assert FORWARDING[0].read_text() == "1\n"
        with box.other_root():
            assert self.prune(box) == []
            kept.delete("--force").ok()
        assert FORWARDING[0].read_text() == "0\n"

    def test_nothing_of_the_host_while_a_record_is_damaged(self, box: Box, net: Net) -> None:
        """It may have what looks left over."""
        held = box.running(networked(box, VETH))
        record = Path(box.runtime.root, held.id, "networks.json")
        whole = record.read_text()
        record.write_text("[")
        before = net.state()
        box.runtime.call("net", "prune").failed("networks.json is damaged")
        assert net.state() == before
        record.write_text(whole)
        assert self.prune(box) == []

    def test_the_last_table_takes_forwarding_along(self, box: Box, net: Net) -> None:
        before = net.state()
        lost = box.created(networked(box, VETH))
        Path(box.runtime.root, lost.id, "networks.json").unlink()
        lost.delete().ok()
        assert "set net/ipv4/ip_forward back to 0" in self.prune(box)
        assert net.state() == before
