"""The annotation org.ocirun.networks: the networks that a bundle asks for, read and checked.

Cold: loaded for containers that have it.

Source: docs/network.md#networks; schemas/networks/network.json.
"""

from __future__ import annotations

import ipaddress
import os

from ocirun.errors import Problem, SpecError
from ocirun.spec import BY_PROGRAM, NETWORKS, checks
from ocirun.spec.jsontext import escaped, parse, quoted
from ocirun.spec.linux_rules import is_interface_name
from ocirun.spec.network_names import FILES, faults_of_names, faults_of_places
from ocirun.spec.ports import Port, faults_of_ports
from ocirun.spec.rules import namespace_paths

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, Final

    from ocirun.spec.types import Config

    Interface = ipaddress.IPv4Interface | ipaddress.IPv6Interface
    Subnet = ipaddress.IPv4Network | ipaddress.IPv6Network

DEFAULT_POOLS: Final = ("10.83.0.0/16",)
DEFAULT_PREFIX: Final = "veth"
RANDOM_DIGITS: Final = 8  # after the prefix
INTERFACE_NAME_LENGTH: Final = 15

_ADDRESSED: Final = {
    *FILES,
    "type",
    "name",
    "address",
    "addresses",
    "gateway",
    "gateways",
    "pools",
    "mtu",
}
MEMBERS: Final = {
    # container.json gives lo an address and a gateway that it has anyway.
    "loopback": {*FILES, "type", "address", "gateway", "mtu"},
    "veth": {*_ADDRESSED, "context", "bridge", "prefix", "masquerade", "ports"},
    "macvlan": {*_ADDRESSED, "parent", "mode"},
    "user": {*FILES, "type", "name", "mtu", "ports"},
    "cni": {*FILES, "type", "name", "device", "ports"},
}


class Network:
    """One network, as it was asked for, with defaults filled in.

    `name` is the device's in the container. `addresses` have the length of their prefix, `pools`
    are for the families without an address, `gateways` lead out. `network` is the name of a
    CNI network. `names` are the members dns and hosts, if given. `path` is the network namespace to
    join, "" for a new one.
    """

    __slots__ = (
        *("addresses", "bridge", "gateways", "mode", "mtu", "name", "parent", "path", "pools"),
        *("network", "prefix", "type", "masquerade", "names", "ports"),
    )

    def __init__(self, entry: dict[str, Any], number: int, path: str) -> None:
        context = entry.get("context", {})
        self.type: str = entry["type"]
        self.name: str = "lo" if self.type == "loopback" else _device(entry) or f"eth{number}"
        self.network: str = entry["name"] if self.type == "cni" else ""
        self.bridge: str = entry.get("bridge") or context.get("bridge", "")
        self.prefix: str = entry.get("prefix") or context.get("prefix") or DEFAULT_PREFIX
        self.parent: str = entry.get("parent", "")
        self.mode: str = entry.get("mode", "bridge")
        self.mtu: int = entry.get("mtu", 0)
        self.masquerade: bool = entry.get("masquerade", False)
        self.names: dict[str, Any] = {name: entry[name] for name in FILES if name in entry}
        self.ports: list[Port] = [Port(port) for port in entry.get("ports", ())]
        self.path = path
        self.addresses: list[Interface] = []
        self.gateways: list[ipaddress.IPv4Address | ipaddress.IPv6Address] = []
        self.pools: list[Subnet] = []
        if self.type == "loopback" or self.type in BY_PROGRAM:
            return
        self.addresses = [ipaddress.ip_interface(text) for text in texts_of(entry, "address")]
        self.gateways = [ipaddress.ip_address(text) for text in texts_of(entry, "gateway")]
        pools = entry.get("pools", [])
        if self.type == "veth" and not self.addresses and not pools:
            pools = DEFAULT_POOLS
        given = {address.version for address in self.addresses}
        subnets = [ipaddress.ip_network(text) for text in pools]
        self.pools = [subnet for subnet in subnets if subnet.version not in given]


def _device(entry: dict[str, Any]) -> str:
    """Return the name that the device is to have, "" for the next one."""
    name: str = entry.get("device" if entry["type"] == "cni" else "name", "")
    return name


def texts_of(entry: dict[str, Any], word: str) -> list[str]:
    """Return the members `word` and its plural, addresses or gateways, as one list."""
    several: list[str] = entry.get(f"{word}es" if word == "address" else f"{word}s", [])
    return [*([entry[word]] if word in entry else []), *several]


def read_networks(config: Config) -> list[Network]:
    """Return the networks that the annotation of `config` asks for.

    Raises:
        SpecError: it is no list of networks, or one breaks a rule; all of them.
    """
    text = config["annotations"][NETWORKS]
    where = f"/annotations/{escaped(NETWORKS)}"
    try:
        entries = parse(os.fsencode(text), NETWORKS)
    except SpecError as error:
        raise SpecError([Problem(where, f"is not JSON: {error.problems[0]}")]) from error
    if not isinstance(entries, list):
        raise SpecError([Problem(where, "must be a list of networks")])
    problems: list[Problem] = []
    for index, entry in enumerate(entries):
        for problem in problems_of(entry):
            problem.pointer = f"{where}/{index}{problem.pointer}"
            problems.append(problem)
    if not problems:
        problems = [Problem(where, message) for message in _faults_of_all(config, entries)]
    if problems:
        raise SpecError(problems)
    path = namespace_paths(config).get("network") or ""
    networks: list[Network] = []
    for entry in entries:
        number = sum(network.type != "loopback" for network in networks)
        networks.append(Network(entry, number, path))
    return networks


def problems_of(entry: Any) -> Iterator[Problem]:  # noqa: ANN401  # JSON
    """Yield the problems of one network of the annotation; pointers begin at the network."""
    if not checks.check_network(entry):
        from ocirun.spec.schema import report  # cold: loads jsonschema

        yield from report(entry, "network")
        return
    for name in entry:
        if name not in MEMBERS[entry["type"]]:
            message = f"is no member of a network of type {entry['type']}"
            yield Problem(f"/{escaped(name)}", message)
    yield from faults_of_names(entry)
    yield from faults_of_ports(entry)
    if entry["type"] == "loopback":
        return
    yield from _faults_of_names(entry)
    if entry["type"] not in BY_PROGRAM:
        yield from _faults_of_addresses(entry)


def _faults_of_names(entry: dict[str, Any]) -> Iterator[Problem]:
    context = entry.get("context", {})
    word = "device" if entry["type"] == "cni" else "name"
    if word == "device" and not entry.get("name"):
        yield Problem("/name", "is missing")
    for name, value, needed in (
        (word, entry.get(word), False),
        ("bridge", entry.get("bridge") or context.get("bridge"), entry["type"] == "veth"),
        ("parent", entry.get("parent"), entry["type"] == "macvlan"),
    ):
        if value is None:
            if needed:
                yield Problem(f"/{name}", "is missing")
        elif not is_interface_name(value) or "%" in value:
            yield Problem(f"/{name}", f"invalid network device name {quoted(value)}")
    prefix = entry.get("prefix") or context.get("prefix") or DEFAULT_PREFIX
    if len(prefix) > INTERFACE_NAME_LENGTH - RANDOM_DIGITS or not is_interface_name(prefix):
        message = f"{quoted(prefix)} is not how a network device's name can begin"
        yield Problem("/prefix", message, f"up to {INTERFACE_NAME_LENGTH - RANDOM_DIGITS} letters")


def _faults_of_addresses(entry: dict[str, Any]) -> Iterator[Problem]:
    found: list[Interface] = []
    for text in texts_of(entry, "address"):
        try:
            found.append(ipaddress.ip_interface(text))
        except ValueError as error:
            yield Problem("/addresses", str(error))
    pools: list[Subnet] = []
    for text in entry.get("pools", ()):
        try:
            pools.append(ipaddress.ip_network(text))
        except ValueError as error:
            yield Problem("/pools", str(error))
    if len({pool.version for pool in pools}) < len(pools):
        yield Problem("/pools", "has two subnets of one family")
    if not found and not pools and entry["type"] == "veth":
        pools = [ipaddress.ip_network(text) for text in DEFAULT_POOLS]
    families: set[int] = set()
    for text in texts_of(entry, "gateway"):
        try:
            gateway = ipaddress.ip_address(text)
        except ValueError as error:
            yield Problem("/gateways", str(error))
            continue
        if gateway.version in families:
            yield Problem("/gateways", "has two addresses of one family")
        families.add(gateway.version)
        if not any(gateway in subnet for subnet in [*(a.network for a in found), *pools]):
            yield Problem("/gateways", f"{gateway} is in no subnet of the addresses or pools")
        if any(gateway == address.ip for address in found):
            yield Problem("/gateways", f"{gateway} is the container's own address")


def _faults_of_all(config: Config, entries: list[dict[str, Any]]) -> Iterator[str]:
    paths = namespace_paths(config)
    types = {entry["type"] for entry in entries}
    if "network" not in paths:
        yield "needs a network namespace"
    if os.geteuid() != 0:
        for kind in sorted(types - {"user"}):
            yield f"networks of type {kind} are not supported for rootless containers"
    if "user" in types and paths.get("network"):
        yield "a network of type user needs a new network namespace"
    names = [name for entry in entries if (name := _device(entry))]
    if len(set(names)) < len(names) or "lo" in names:
        yield "two network devices are to have one name"
    yield from faults_of_places(config, entries)
