"""Published ports: their rules, and whether they are free on the host.

Source: docs/network.md#ports.
"""

from __future__ import annotations

import _socket
import ipaddress
from errno import EADDRINUSE, EADDRNOTAVAIL

from ocirun.errors import SetupError, doing
from ocirun.network import nft_messages as nft
from ocirun.network.nftables import redirections_in, tables

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Final

    from ocirun.network.attachment import Address, Attachment
    from ocirun.spec.ports import Port

ANY: Final = {4: ipaddress.ip_address("0.0.0.0"), 6: ipaddress.ip_address("::")}  # noqa: S104
# Kernel: packets from ::1 cannot leave the host, so packets to it cannot be redirected.
LOOPBACK: Final = ipaddress.IPv6Network("::1/128")
FAMILY: Final = {4: _socket.AF_INET, 6: _socket.AF_INET6}
KIND: Final = {"tcp": _socket.SOCK_STREAM, "udp": _socket.SOCK_DGRAM}


class Redirection:
    """A port in one address family: `here` is the host's address, `address` the container's."""

    __slots__ = ("address", "here", "port")

    def __init__(self, port: Port, address: Address) -> None:
        self.port = port
        self.address = address
        self.here: Address = port.address or ANY[address.version]

    @property
    def is_of_loopback(self) -> bool:
        """Whether only the host itself can reach it."""
        return self.here.is_loopback

    @property
    def last(self) -> int:
        """The last port of the host."""
        return self.port.host + self.port.count - 1

    @property
    def words(self) -> str:
        """The text in the comment of its rule: PROTOCOL ADDRESS FIRST-LAST."""
        return f"{self.port.protocol} {self.here} {self.port.host}-{self.last}"

    def rules(self) -> Iterator[bytes]:
        """Yield its rules: matches and the redirection, as bytes."""
        port = self.port
        family = nft.is_family(self.address.version)
        if self.here.is_unspecified:
            match = family + nft.is_to_host()
            if self.address.version == 6:
                match += nft.is_to(LOOPBACK, equal=False)
        else:
            match = nft.is_to(ipaddress.ip_network(self.here.packed))
        if port.host == port.container:
            ports = nft.is_to_port(port.protocol, port.host, self.last)
            yield match + ports + nft.redirect(self.address, None)
            return
        for number in range(port.count):
            ports = nft.is_to_port(port.protocol, port.host + number, port.host + number)
            yield match + ports + nft.redirect(self.address, port.container + number)


def redirections_of(attachment: Attachment) -> list[Redirection]:
    """Return the redirections of a container's ports, in each family that it has an address of."""
    first: dict[int, Address] = {}
    for address in attachment.addresses:
        first.setdefault(address.version, address.ip)
    return [
        Redirection(port, address)
        for port in attachment.ports
        for address in first.values()
        if port.address is None or port.address.version == address.version
    ]


def check_ports(attachment: Attachment, held: list[Attachment]) -> None:
    """Check that ports can be redirected, and are free on the host and among containers.

    `held` are the attachments of all containers below the state root.

    Raises:
        SetupError: a port cannot be redirected or is taken.
    """
    asked = redirections_of(attachment)
    for port in attachment.ports:
        if not any(each.port is port for each in asked):
            raise SetupError(f"port {port}: the container has no address of that family")
        if port.address and port.address.version == 6 and port.address in LOOPBACK:
            raise SetupError(f"port {port}: the kernel cannot redirect what is sent to ::1")
    taken = [(each.words, other.container) for other in held for each in redirections_of(other)]
    for name in tables():
        if not name.endswith(f"-{attachment.owner}"):
            taken += [(words, "") for words in redirections_in(name)]
    for each in asked:
        for words, container in taken:
            if _overlap(each.words, words):
                by = f"container {container}" if container else "a container of another state root"
                raise SetupError(f"port {each.port} is taken by {by}")
        taken.append((each.words, attachment.container))
        _require_unused(each, [address.ip for address in attachment.bridge_addresses])


def _overlap(one: str, other: str) -> bool:
    """Return whether the ports in two comments of rules overlap."""
    protocol, text, numbers = one.split()
    other_protocol, other_text, other_numbers = other.split()
    here, there = ipaddress.ip_address(text), ipaddress.ip_address(other_text)
    if protocol != other_protocol or here.version != there.version:
        return False
    if here != there and not here.is_unspecified and not there.is_unspecified:
        return False
    first, last = (int(number) for number in numbers.split("-"))
    other_first, other_last = (int(number) for number in other_numbers.split("-"))
    return first <= other_last and other_first <= last


def _require_unused(redirection: Redirection, coming: list[Address]) -> None:
    """Check that no socket of the host uses the port: it would receive nothing any more.

    `coming` are the addresses that the host is about to get.
    """
    here, port = redirection.here, redirection.port
    with doing(f"looking whether port {port} is free"):
        for number in range(port.host, redirection.last + 1):
            kind = KIND[port.protocol] | _socket.SOCK_CLOEXEC
            probe = _socket.socket(FAMILY[here.version], kind)
            try:
                if port.protocol == "tcp":
                    # Kernel: with SO_REUSEADDR closed connections do not conflict, a listener does.
                    probe.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
                if here.version == 6:
                    probe.setsockopt(_socket.IPPROTO_IPV6, _socket.IPV6_V6ONLY, 1)
                probe.bind((str(here), number))
            except OSError as error:
                if error.errno == EADDRINUSE:
                    words = f"port {port}: a program of the host uses {number}/{port.protocol}"
                    raise SetupError(words) from error
                if error.errno == EADDRNOTAVAIL:
                    if here in coming:
                        return
                    raise SetupError(f"port {port}: {here} is no address of the host") from error
                raise
            finally:
                probe.close()
