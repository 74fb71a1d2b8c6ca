"""The members dns and hosts of a network: what resolv.conf and hosts of a container have.

Cold: loaded for containers that ask for networks.

Source: resolv.conf(5), hosts(5); docs/network.md#names.
"""

from __future__ import annotations

import ipaddress
import posixpath

from ocirun.errors import Problem
from ocirun.spec.jsontext import escaped, quoted
from ocirun.spec.rules import namespace_paths

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, Final

    from ocirun.spec.types import Config

RESOLV_CONF: Final = "/etc/resolv.conf"
HOSTS: Final = "/etc/hosts"
# The members of an entry, and the file that each is for.
FILES: Final = {"dns": RESOLV_CONF, "hosts": HOSTS}

_KNOWN: Final = {"dns": {"nameservers", "search", "options"}, "hosts": {"address", "names"}}
LOCALHOST: Final = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"


def resolv_conf(entries: list[dict[str, Any]]) -> str | None:
    """Return the text of resolv.conf for the networks `entries`; None if none asks for it."""
    asked = [entry["dns"] for entry in entries if "dns" in entry]
    if not asked:
        return None
    lines = [f"nameserver {text}" for dns in asked for text in dns.get("nameservers", ())]
    for word in ("search", "options"):
        texts = [text for dns in asked for text in dns.get(word, ())]
        lines += [" ".join([word, *texts])] if texts else []
    return "".join(f"{line}\n" for line in lines)


def hosts(entries: list[dict[str, Any]], hostname: str, addresses: list[str]) -> str:
    """Return the text of hosts: localhost, `hostname` with the container's own addresses, the rest.

    `hostname` may be "", for a container without one.
    """
    own = [f"{address}\t{hostname}" for address in addresses] if hostname else []
    asked = [
        f"{host['address']}\t{' '.join(host['names'])}"
        for entry in entries
        for host in entry.get("hosts", ())
    ]
    return LOCALHOST + "".join(f"{line}\n" for line in [*own, *asked])


def faults_of_names(entry: dict[str, Any]) -> Iterator[Problem]:
    """Find what would be no line of resolv.conf or hosts; `entry` has the shape of a network."""
    dns = entry.get("dns", {})
    yield from _unknown("dns", dns, "/dns")
    for index, text in enumerate(dns.get("nameservers", ())):
        yield from _faults_of_address(text, f"/dns/nameservers/{index}")
    for name in ("search", "options"):
        for index, text in enumerate(dns.get(name, ())):
            yield from _faults_of_word(text, f"/dns/{name}/{index}")
    for number, host in enumerate(entry.get("hosts", ())):
        yield from _unknown("hosts", host, f"/hosts/{number}")
        yield from _faults_of_address(host["address"], f"/hosts/{number}/address")
        for index, text in enumerate(host["names"]):
            yield from _faults_of_word(text, f"/hosts/{number}/names/{index}")


def faults_of_places(config: Config, entries: list[dict[str, Any]]) -> Iterator[str]:
    """Find why the files cannot be mounted in the container that `config` describes."""
    asked = [name for name in FILES if any(name in entry for entry in entries)]
    if asked and "mount" not in namespace_paths(config):
        yield f"{asked[0]} needs a mount namespace"
    mounted = {
        posixpath.normpath(f"/{mount['destination'].lstrip('/')}")
        for mount in config.get("mounts") or ()
    }
    hostname = config.get("hostname", "")
    if "hosts" in asked and hostname and not _is_word(hostname):
        yield f"hosts has the hostname, and {quoted(hostname)} is not one word of printable ASCII"
    for name in asked:
        if FILES[name] in mounted:
            yield f"{name} is for {FILES[name]}, where config.json mounts something already"


def _unknown(name: str, found: dict[str, Any], pointer: str) -> Iterator[Problem]:
    for member in found.keys() - _KNOWN[name]:
        yield Problem(f"{pointer}/{escaped(member)}", f"is no member of {name}")


def _faults_of_address(text: str, pointer: str) -> Iterator[Problem]:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        yield Problem(pointer, f"{quoted(text)} is not an address")
        return
    yield from _faults_of_word(text, pointer)  # the scope of an IPv6 address may be anything


def _faults_of_word(text: str, pointer: str) -> Iterator[Problem]:
    """Security: a space or a line break would be another word or line of the file."""
    if not _is_word(text):
        yield Problem(pointer, f"{quoted(text)} is not one word of printable ASCII")


def _is_word(text: str) -> bool:
    return bool(text) and all("!" <= letter <= "~" and letter not in "#;" for letter in text)
