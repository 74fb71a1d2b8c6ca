"""The member ports of a network: which ports of the host lead to which of the container.

Cold: loaded for containers that ask for networks.

Source: docs/network.md#ports.
"""

from __future__ import annotations

import ipaddress

from ocirun.errors import Problem
from ocirun.spec.jsontext import escaped, quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, Final

    Address = ipaddress.IPv4Address | ipaddress.IPv6Address

LAST_PORT: Final = 65535
_KNOWN: Final = {"host", "container", "protocol", "address", "count"}


class Port:
    """`count` ports of the host from `host` on, which lead to those from `container` on.

    `protocol` is "tcp" or "udp". `address` is the host's; 0.0.0.0 or :: stands for all of the
    family, None for all of both.
    """

    __slots__ = ("address", "container", "count", "host", "protocol")

    def __init__(self, entry: dict[str, Any]) -> None:
        self.host: int = entry["host"]
        self.container: int = entry.get("container", self.host)
        self.count: int = entry.get("count", 1)
        self.protocol: str = entry.get("protocol", "tcp")
        text = entry.get("address")
        self.address: Address | None = ipaddress.ip_address(text) if text else None

    def body(self) -> dict[str, Any]:
        """Return it as JSON, from which it can be made again."""
        found = {name: getattr(self, name) for name in ("host", "container", "count", "protocol")}
        return found | ({"address": str(self.address)} if self.address else {})

    def __str__(self) -> str:
        """Return it as messages and tables show it: 127.0.0.1:8080-8081->80/tcp."""
        text = str(self.address or "")
        where = f"[{text}]:" if ":" in text else f"{text}:" if text else ""
        last = f"-{self.host + self.count - 1}" if self.count > 1 else ""
        return f"{where}{self.host}{last}->{self.container}/{self.protocol}"


def faults_of_ports(entry: dict[str, Any]) -> Iterator[Problem]:
    """Find what cannot be a port; `entry` has the shape of a network."""
    for index, port in enumerate(entry.get("ports", ())):
        where = f"/ports/{index}"
        for name in port.keys() - _KNOWN:
            yield Problem(f"{where}/{escaped(name)}", "is no member of ports")
        if "address" in port:
            yield from _faults_of_address(port["address"], f"{where}/address")
        last = max(port["host"], port.get("container", 0)) + port.get("count", 1) - 1
        if last > LAST_PORT:
            yield Problem(f"{where}/count", f"leads to port {last}; the last one is {LAST_PORT}")


def _faults_of_address(text: str, where: str) -> Iterator[Problem]:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        yield Problem(where, f"{quoted(text)} is not an address")
        return
    if address.version == 6 and (address.ipv4_mapped or address.scope_id):
        yield Problem(
            where, f"{quoted(text)} is no address of the host: no scope, and IPv4 as such"
        )
