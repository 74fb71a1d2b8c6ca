"""The annotation org.ocirun.networks is read, with defaults, or refused with its pointers."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

from ocirun.errors import SpecError
from ocirun.spec.networks import Network, read_networks


@pytest.fixture(autouse=True)
def as_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)


def read(*entries: object, path: str = "") -> list[Network]:
    namespace = {"type": "network", "path": path}
    config: Any = {
        "annotations": {"org.ocirun.networks": json.dumps(entries)},
        "linux": {"namespaces": [namespace]},
    }
    return read_networks(config)


def test_defaults_are_filled_in() -> None:
    lo, first, second = read(
        {"type": "loopback"},
        {"type": "veth", "bridge": "b"},
        {"type": "macvlan", "parent": "p"},
        path="/n",
    )
    assert (lo.name, lo.pools) == ("lo", [])
    assert (first.name, first.prefix, [str(pool) for pool in first.pools]) == (
        "eth0",
        "veth",
        ["10.83.0.0/16"],
    )
    assert (second.name, second.mode, second.pools, second.path) == ("eth1", "bridge", [], "/n")


def test_two_equal_networks_have_two_names() -> None:
    network = {"type": "veth", "bridge": "b"}
    assert [each.name for each in read(network, network)] == ["eth0", "eth1"]


def test_a_pool_is_for_the_family_that_has_no_address() -> None:
    (network,) = read(
        {
            "type": "veth",
            "bridge": "b",
            "address": "10.0.0.2/24",
            "pools": ["10.0.0.0/24", "fd00::/64"],
        }
    )
    assert [str(address) for address in network.addresses] == ["10.0.0.2/24"]
    assert [str(pool) for pool in network.pools] == ["fd00::/64"]


def test_all_faults_are_named_with_their_pointers() -> None:
    with pytest.raises(SpecError) as caught:
        read({"type": "veth"}, 5, {"type": "macvlan", "parent": "p", "gateway": "x"})
    assert [problem.pointer.rpartition("networks")[2] for problem in caught.value.problems] == [
        "/0/bridge",
        "/1",
        "/2/gateways",
    ]


def test_rootless_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(SpecError, match=r"of type \w+ are not supported for rootless containers"):
        read({"type": "loopback"})


def test_rootless_may_have_a_network_of_type_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    (network,) = read({"type": "user", "mtu": 1400})
    assert (network.name, network.mtu, network.pools) == ("eth0", 1400, [])
    for wrong in ({"address": "10.0.0.2/24"}, {"bridge": "b"}):
        with pytest.raises(SpecError, match="is no member of a network of type user"):
            read({"type": "user", **wrong})
