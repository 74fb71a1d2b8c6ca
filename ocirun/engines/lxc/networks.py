"""The networks of the annotation org.ocirun.networks, as LXC makes them.

Source: docs/network.md#networks; lxc.container.conf(5), lxc.net.
"""

from __future__ import annotations

from ocirun.spec import NETWORKS
from ocirun.spec.networks import read_networks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from ocirun.spec.networks import Network
    from ocirun.spec.types import Config

# What native does by itself for a network, and LXC does not.
NOT_IN_LXC: Final = ("pools", "ports", "masquerade", "names")


def network_lines(config: Config) -> tuple[list[str], list[str]]:
    """Return the lines for LXC, and the names of what has no counterpart.

    Raises:
        SpecError: the annotation is wrong.
    """
    lines: list[str] = []
    left: list[str] = []
    # `lxc.net.0` is the loopback device alone, or the host's network.
    for number, network in enumerate(read_networks(config), 1):
        where = f"annotations.{NETWORKS}.{number - 1}"
        left += [f"{where}.{member}" for member in NOT_IN_LXC if getattr(network, member)]
        if network.type == "veth" and network.bridge:
            lines += _veth_lines(f"lxc.net.{number}", network)
        elif network.type != "loopback":
            left.append(f"{where} ({network.type})")
    return lines, left


def _veth_lines(key: str, network: Network) -> list[str]:
    lines = [
        f"{key}.type = veth",
        f"{key}.link = {network.bridge}",
        f"{key}.name = {network.name}",
        f"{key}.flags = up",
    ]
    if network.mtu:
        lines.append(f"{key}.mtu = {network.mtu}")
    lines += [f"{key}.ipv{one.version}.address = {one}" for one in network.addresses]
    lines += [f"{key}.ipv{one.version}.gateway = {one}" for one in network.gateways]
    return lines
