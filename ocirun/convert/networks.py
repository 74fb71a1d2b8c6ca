"""Networks: the annotation org.ocirun.networks, `lxc.net` of LXC, `networks` of container.json.

All three have veth devices at a bridge. Those of a container.json have the form of the annotation.

Source: docs/convert.md; docs/network.md#networks; lxc.container.conf(5), lxc.net.
"""

from __future__ import annotations

import json  # noqa: TID253  # cold: only convert and the engine lxc load this module
import os

from ocirun.errors import SpecError
from ocirun.spec import NETWORKS
from ocirun.spec.jsontext import parse
from ocirun.spec.networks import Network, problems_of, texts_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from ocirun.convert.document import Document, Rest

# What ocirun does by itself for a network, and others do not.
NOT_ELSEWHERE: Final = ("pools", "ports", "masquerade", "names")
OLD_PREFIX: Final = "lxc.network."
OLD_MEMBERS: Final = {"ipv4": "ipv4.address", "ipv6": "ipv6.address"}
ADDRESSES: Final = ("ipv4.address", "ipv6.address")
GATEWAYS: Final = ("ipv4.gateway", "ipv6.gateway")
# What Docker 0.11 has for a network of type veth.
DOCKER: Final = {"type", "address", "gateway", "mtu", "context"}


def lines_of(networks: list[Network]) -> tuple[list[tuple[str, str]], list[str]]:
    """Return keys and values for LXC, and the names of what has no counterpart."""
    lines: list[tuple[str, str]] = []
    left: list[str] = []
    # `lxc.net.0` is the loopback device alone, or the host's network.
    for number, network in enumerate(networks, 1):
        where = f"annotations.{NETWORKS}.{number - 1}"
        left += [f"{where}.{member}" for member in NOT_ELSEWHERE if getattr(network, member)]
        if network.type == "veth" and network.bridge:
            lines += _veth_lines(f"lxc.net.{number}", network)
        elif network.type != "loopback":
            left.append(f"{where} ({network.type})")
    return lines, left


def _veth_lines(key: str, network: Network) -> list[tuple[str, str]]:
    lines = [
        (f"{key}.type", "veth"),
        (f"{key}.link", network.bridge),
        (f"{key}.name", network.name),
        (f"{key}.flags", "up"),
    ]
    if network.mtu:
        lines.append((f"{key}.mtu", str(network.mtu)))
    lines += [(f"{key}.ipv{one.version}.address", str(one)) for one in network.addresses]
    lines += [(f"{key}.ipv{one.version}.gateway", str(one)) for one in network.gateways]
    return lines


def take_networks(rest: Rest) -> list[Document]:
    """Take the annotation of a bundle; one that is wrong is left there."""
    text = rest.take("annotations", NETWORKS)
    if not isinstance(text, str):
        return []
    try:
        entries = parse(os.fsencode(text), NETWORKS)
    except SpecError:
        entries = None
    if not isinstance(entries, list) or any(map(_is_wrong, entries)):
        rest.put(text, "annotations", NETWORKS)
        return []
    return entries


def take_network_lines(rest: Rest) -> tuple[list[tuple[str, str]], list[str]]:
    """Take the annotation; return what LXC has of it, and the names of what it has not."""
    networks: list[Network] = []
    for entry in take_networks(rest):
        number = sum(network.type != "loopback" for network in networks)
        networks.append(Network(entry, number, ""))
    return lines_of(networks)


def _is_wrong(entry: Document) -> bool:
    return next(problems_of(entry), None) is not None


class LxcNetworks:
    """Collects the lines of `lxc.net`, and the old ones of `lxc.network`."""

    def __init__(self) -> None:
        self._found: dict[str, list[tuple[str, str, str]]] = {}  # member, value, line
        self._old = 0

    def take(self, key: str, value: str) -> bool:
        """Take a line; return whether it is about a network."""
        if key.startswith(OLD_PREFIX):
            member = key.removeprefix(OLD_PREFIX)
            self._old += member == "type"
            number, member = f"old {self._old}", OLD_MEMBERS.get(member, member)
        elif key.startswith("lxc.net."):
            number, _, member = key.removeprefix("lxc.net.").partition(".")
        else:
            return False
        self._found.setdefault(number, []).append((member, value, f"{key} = {value}"))
        return True

    def is_the_hosts(self) -> bool:
        """Return whether the container has the host's network."""
        return any(line[:2] == ("type", "none") for lines in self._found.values() for line in lines)

    def entries(self) -> tuple[list[Document], list[str]]:
        """Return the networks for the annotation, and the lines without a counterpart."""
        entries: list[Document] = []
        left: list[str] = []
        for lines in self._found.values():
            kind = {member: value for member, value, _ in lines}.get("type")
            if kind in ("none", "empty"):
                left += [line for member, _, line in lines if member != "type"]
                continue
            entry, more = _entry_of(lines)
            if kind == "veth" and entry and not self.is_the_hosts():
                entries.append(entry)
                left += more
            else:
                left += [line for _, _, line in lines]
        return entries, left


def _entry_of(lines: list[tuple[str, str, str]]) -> tuple[Document | None, list[str]]:
    """Return a network of type veth, None if it cannot be one, and the lines that it lacks.

    Without an address, LXC leaves the device to a client of DHCP in the container; ocirun would
    choose an address.
    """
    entry: Document = {"type": "veth", "addresses": [], "gateways": []}
    left: list[str] = []
    is_up = False
    for member, value, line in lines:
        address, _, broadcast = value.partition(" ")
        if member in ADDRESSES and "/" in address and not broadcast:
            entry["addresses"].append(address)
        elif member in GATEWAYS and value not in ("auto", "dev"):
            entry["gateways"].append(value)
        elif member in ("link", "name"):
            entry["bridge" if member == "link" else member] = value
        elif member == "mtu" and value.isdecimal():
            entry["mtu"] = int(value)
        elif member == "flags" and value == "up":
            is_up = True
        elif member != "type":
            left.append(line)
    entry = {name: value for name, value in entry.items() if value}
    is_whole = is_up and "addresses" in entry and not _is_wrong(entry)
    return (entry if is_whole else None), left


def annotate(config: Document, entries: list[Document]) -> None:
    """Put networks into the annotation of a bundle."""
    if entries:
        config.setdefault("annotations", {})[NETWORKS] = json.dumps(entries)


def read_docker(networks: list[Document]) -> tuple[list[Document], list[Document]]:
    """Return the networks of a container.json that a bundle can have, and the others.

    A new network namespace has the loopback device anyway.
    """
    others = [one for one in networks if one.get("type") != "loopback"]
    taken = [
        one
        for one in others
        if one.get("type") == "veth" and texts_of(one, "address") and not _is_wrong(one)
    ]
    return taken, [one for one in others if one not in taken]


def write_docker(entries: list[Document]) -> tuple[list[Document], list[Document]]:
    """Return the networks of a bundle as a container.json has them, and those it cannot have."""
    written: list[Document] = []
    left: list[Document] = []
    for entry in entries:
        if entry["type"] == "loopback":
            continue
        network = Network(entry, 0, "")
        addresses, gateways = texts_of(entry, "address"), texts_of(entry, "gateway")
        if network.type != "veth" or len(addresses) != 1 or len(gateways) > 1 or _more(entry):
            left.append(entry)
            continue
        context = {"prefix": network.prefix, "bridge": network.bridge}
        made: Document = {"type": "veth", "address": addresses[0], "context": context}
        if gateways:
            made["gateway"] = gateways[0]
        if network.mtu:
            made["mtu"] = network.mtu
        written.append(made)
    return written, left


def _more(entry: Document) -> bool:
    """Return whether a network has members that Docker's do not."""
    return bool(set(entry) - DOCKER - {"addresses", "gateways", "bridge", "prefix"})
