"""Addresses, gateways and bridges are chosen from what is asked for and what others hold."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest

from ocirun.errors import SetupError
from ocirun.network.attachment import Attachment
from ocirun.network.settle import settle
from ocirun.spec.networks import Network


def settled(
    held: list[Attachment], devices: dict[str, list[str]] | None = None, **entry: object
) -> Attachment:
    network = Network({"type": "veth", "bridge": "b", **entry}, 0, "")
    addresses = {
        name: [ipaddress.ip_interface(text) for text in texts]
        for name, texts in (devices or {}).items()
    }
    return settle(network, held, addresses)


def test_each_gets_the_next_free_address_of_both_families() -> None:
    held: list[Attachment] = []
    for _ in range(3):
        held.append(settled(held, pools=["10.0.0.0/24", "fd00::/64"]))
    assert [[str(a) for a in each.addresses] for each in held] == [
        ["10.0.0.2/24", "fd00::2/64"],
        ["10.0.0.3/24", "fd00::3/64"],
        ["10.0.0.4/24", "fd00::4/64"],
    ]
    assert len({each.host for each in held}) == 3
    del held[1]
    assert str(settled(held, pools=["10.0.0.0/24"]).addresses[0]) == "10.0.0.3/24"


def test_a_bridge_of_ours_has_the_gateways() -> None:
    made = settled([], addresses=["10.0.0.9/24"])
    assert made.is_made
    assert [str(address) for address in made.bridge_addresses] == ["10.0.0.1/24"]
    assert settled([made], {"b": ["10.0.0.1/24"]}, pools=["10.0.0.0/24"]).is_made


def test_a_foreign_bridge_is_the_gateway_and_gets_nothing() -> None:
    found = settled([], {"b": ["10.0.0.7/24"]}, pools=["10.0.0.0/24"])
    assert not found.is_made
    assert [str(gateway) for gateway in found.gateways] == ["10.0.0.7"]
    assert found.bridge_addresses == []
    assert settled([], {"b": []}, pools=["10.0.0.0/24"]).gateways == []


@pytest.mark.parametrize("address", ["10.0.0.2/24", "10.0.0.1/24"])
def test_an_address_is_given_once(address: str) -> None:
    held = [settled([], pools=["10.0.0.0/24"])]
    with pytest.raises(SetupError, match="is taken on b"):
        settled(held, {"b": []}, addresses=[address], gateways=["10.0.0.254"])


def test_the_same_address_on_another_bridge_is_another() -> None:
    held = [settled([], pools=["10.0.0.0/24"])]
    found = settled(held, bridge="c", addresses=["10.0.0.2/24"])
    assert str(found.addresses[0]) == "10.0.0.2/24"


def test_a_subnet_is_on_one_device_of_the_host() -> None:
    with pytest.raises(SetupError, match=r"subnet 10\.0\.0\.0/24 of bridge b is in use on eth0"):
        settled([], {"eth0": ["10.0.0.5/8", "fd00::1/64"]}, pools=["10.0.0.0/24"])
    settled([], {"eth0": ["10.0.1.5/24", "fd00::1/64"]}, pools=["10.0.0.0/24"])


@pytest.mark.parametrize(("pool", "size"), [("10.0.0.0/30", 1), ("fd00::/126", 2)])
def test_a_pool_is_used_up(pool: str, size: int) -> None:
    held: list[Attachment] = []
    for _ in range(size):
        held.append(settled(held, pools=[pool]))
    with pytest.raises(SetupError, match=f"pool {pool} has no free address"):
        settled(held, pools=[pool])


def test_what_is_recorded_is_read_again() -> None:
    made = settled([], pools=["10.0.0.0/24", "fd00::/64"], mtu=1400)
    assert Attachment.from_body(made.body()).body() == made.body()


@pytest.mark.parametrize(
    "spoiled", [{"addresses": ["x"]}, {"mtu": "1"}, {"is_made": 1}, {"host": None}]
)
def test_a_record_that_is_spoiled_is_refused(spoiled: dict[str, Any]) -> None:
    body = settled([], pools=["10.0.0.0/24"]).body()
    with pytest.raises((ValueError, TypeError)):
        Attachment.from_body(body | spoiled)
