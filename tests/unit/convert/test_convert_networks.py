"""Networks of bundles, of LXC configurations and of container.json, each as another.

Source: docs/convert.md; docs/network.md#networks; lxc.container.conf(5), lxc.net.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from ocirun.convert.libcontainer import read_container_json, write_container_json
from ocirun.convert.lxc_read import read_lxc
from ocirun.convert.lxc_write import write_lxc
from ocirun.spec import NETWORKS
from ocirun.spec.default import default_config

VETH = {
    "type": "veth",
    "bridge": "br0",
    "name": "eth0",
    "addresses": ["10.0.3.5/24", "fd00::5/64"],
    "gateways": ["10.0.3.1"],
    "mtu": 1400,
}
LXC_VETH = """\
lxc.net.0.type = veth
lxc.net.0.link = br0
lxc.net.0.flags = up
lxc.net.0.ipv4.address = 10.0.3.5/24
"""


def with_networks(*networks: dict[str, Any]) -> dict[str, Any]:
    return {**default_config(), "annotations": {NETWORKS: json.dumps(networks)}}


def networks_of(config: dict[str, Any]) -> list[dict[str, Any]]:
    networks: list[dict[str, Any]] = json.loads(config["annotations"][NETWORKS])
    return networks


def test_a_veth_comes_back_from_lxc() -> None:
    written, left = write_lxc(with_networks(VETH), cgroup_v2=False, old_keys=False)
    assert not [name for name in left if "network" in name]
    config, unknown = read_lxc(written)
    assert (networks_of(config), unknown) == ([VETH], [])


def test_networks_of_lxc_are_read_by_new_and_old_keys() -> None:
    old = LXC_VETH.replace("lxc.net.0.", "lxc.network.").replace("ipv4.address", "ipv4")
    entry = {"type": "veth", "bridge": "br0", "addresses": ["10.0.3.5/24"]}
    for lines, count in ((LXC_VETH, 1), (old, 1), (old * 2, 2), ("lxc.net.0.type = empty\n", 0)):
        config, left = read_lxc(lines)
        assert left == []
        assert ("annotations" in config and networks_of(config)) == (count and [entry] * count)


@pytest.mark.parametrize(
    ("lines", "left"),
    [
        (LXC_VETH + "lxc.net.0.hwaddr = 00:16:3e:01:02:03\n", ["lxc.net.0.hwaddr"]),
        (LXC_VETH + "lxc.net.0.ipv4.gateway = auto\n", ["lxc.net.0.ipv4.gateway"]),
        (LXC_VETH.replace("/24", "/24 10.0.3.255"), ["lxc.net.0."] * 4),  # no address is left
        (LXC_VETH.replace("up", "down"), ["lxc.net.0."] * 4),
        (LXC_VETH.replace("veth", "macvlan"), ["lxc.net.0."] * 4),
        (LXC_VETH + "lxc.net.1.type = none\n", ["lxc.net.0."] * 4),
        ("lxc.net.0.link = br0\n", ["lxc.net.0.link"]),
    ],
)
def test_what_a_network_of_lxc_loses_is_named(lines: str, left: list[str]) -> None:
    found = read_lxc(lines)[1]
    assert len(found) == len(left)
    assert all(line.startswith(start) for line, start in zip(found, left, strict=True))


def test_what_lxc_lacks_of_a_network_is_named() -> None:
    networks = [
        {"type": "veth", "bridge": "br0", "masquerade": True},
        {"type": "macvlan", "parent": "eth0"},
    ]
    _, left = write_lxc(with_networks(*networks), cgroup_v2=False, old_keys=False)
    where = f"annotations.{NETWORKS}"
    assert [name for name in left if name.startswith(where)] == [
        f"{where}.0.masquerade",
        f"{where}.0.pools",
        f"{where}.1 (macvlan)",
    ]


@pytest.mark.parametrize("text", ["[{}", "{}", "[7]", '[{"type": "veth"}]'])
def test_a_wrong_annotation_is_left(text: str) -> None:
    config = {**default_config(), "annotations": {NETWORKS: text}}
    assert f"annotations.{NETWORKS}" in write_lxc(config, cgroup_v2=False, old_keys=False)[1]


def test_a_veth_comes_back_from_container_json() -> None:
    docker = {
        "type": "veth",
        "address": "172.17.0.5/16",
        "context": {"prefix": "veth", "bridge": "docker0"},
        "gateway": "172.17.42.1",
        "mtu": 1500,
    }
    config = with_networks(docker, VETH)
    document, left = write_container_json(config)
    assert [one["type"] for one in document["networks"]] == ["loopback", "veth"]
    assert f"annotations.{NETWORKS}" in left  # two addresses
    config, left = read_container_json(document, "/srv/root")
    assert (networks_of(config), [name for name in left if name == "networks"]) == ([docker], [])
