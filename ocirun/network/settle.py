"""Choose the names, addresses and gateways of a requested network.

Pure except for the random part of a name: what others hold is passed in.

Source: docs/network.md#addresses.
"""

from __future__ import annotations

import ipaddress
import os
from itertools import islice

from ocirun.errors import SetupError
from ocirun.network.attachment import Attachment
from ocirun.spec.networks import RANDOM_DIGITS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from ocirun.network.attachment import Address, Interface
    from ocirun.spec.networks import Network

    Devices = dict[str, list[Interface]]


def settle(network: Network, held: list[Attachment], devices: Devices) -> Attachment:
    """Return the attachment to create for `network`.

    `held` are the attachments of all containers, `devices` the addresses of each of the host's
    network devices.

    Raises:
        SetupError: an address is taken, a pool is exhausted, or another device of the host has an
            address in the subnet.
    """
    found = Attachment()
    for name in ("type", "name", "mtu", "path", "bridge", "parent", "mode", "masquerade", "ports"):
        setattr(found, name, getattr(network, name))
    found.gateways = list(network.gateways)
    if found.type == "loopback":
        return found
    neighbours = [
        other
        for other in held
        if other.type == found.type and (other.bridge, other.parent) == (found.bridge, found.parent)
    ]
    if found.type == "veth":
        found.host = network.prefix + os.urandom(RANDOM_DIGITS // 2).hex()
        ours = any(other.is_made for other in neighbours)
        found.is_made = ours or found.bridge not in devices
    taken: set[Address] = {a.ip for other in neighbours for a in other.addresses}
    taken |= {gateway for other in neighbours for gateway in other.gateways}
    own = [] if found.is_made else devices.get(found.bridge or found.parent, [])
    taken |= {address.ip for address in own}
    subnets = [*(address.network for address in network.addresses), *network.pools]
    if found.type == "veth":
        _choose_gateways(found, subnets, own)
    taken |= set(found.gateways)
    for address in network.addresses:
        if address.ip in taken:
            raise SetupError(f"address {address.ip} is taken on {found.bridge or found.parent}")
    found.addresses = list(network.addresses)
    for pool in network.pools:
        found.addresses.append(first_free(pool, taken))
    if found.is_made:
        found.bridge_addresses = _of_bridge(found, devices)
    return found


def first_free(
    pool: ipaddress.IPv4Network | ipaddress.IPv6Network, taken: set[Address]
) -> Interface:
    """Return the lowest address of `pool` that is not in `taken`, with the prefix length.

    Raises:
        SetupError: all addresses are taken.
    """
    hosts: Iterable[Address] = pool.hosts()
    for address in hosts:
        if address not in taken:
            return ipaddress.ip_interface(f"{address}/{pool.prefixlen}")
    raise SetupError(f"pool {pool} has no free address")


def _choose_gateways(
    found: Attachment,
    subnets: list[ipaddress.IPv4Network | ipaddress.IPv6Network],
    own: list[Interface],
) -> None:
    """Add a gateway for each family that lacks one: the bridge's address in the same subnet.

    A bridge that we create has the first address of the subnet.
    """
    for subnet in subnets:
        if any(gateway.version == subnet.version for gateway in found.gateways):
            continue
        if found.is_made:
            if subnet.num_addresses > 2:
                found.gateways += islice(subnet.hosts(), 1)
        else:
            found.gateways += [address.ip for address in own if address.ip in subnet][:1]


def _of_bridge(found: Attachment, devices: Devices) -> list[Interface]:
    addresses = []
    for gateway in found.gateways:
        subnet = next(a.network for a in found.addresses if gateway in a.network)
        for name, others in devices.items():
            for other in others:
                if name != found.bridge and other.network.overlaps(subnet):
                    raise SetupError(
                        f"subnet {subnet} of bridge {found.bridge} is in use on {name}: {other}"
                    )
        addresses.append(ipaddress.ip_interface(f"{gateway}/{subnet.prefixlen}"))
    return addresses
