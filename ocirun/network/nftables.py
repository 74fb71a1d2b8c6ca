"""Masquerading by nftables: a table for each bridge, that no other program has rules in.

    table inet ocirun-BRIDGE {
        chain postrouting {
            type nat hook postrouting priority srcnat;
            ip saddr 10.83.0.0/16 oifname != "BRIDGE" masquerade
        }
    }

The table is written anew, in one transaction, whenever a container comes or goes, and removed with
the last. There is no call of nft(8), which not every host has; pyroute2 would load asyncio for it.

Source: nft(8); kernel include/uapi/linux/netfilter/nf_tables.h.
"""

from __future__ import annotations

import struct
from errno import EPROTONOSUPPORT

from ocirun.errors import doing
from ocirun.network.netlink import NLM_F_CREATE, NLM_F_REQUEST, Netlink

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ipaddress
    from typing import Final

    Subnet = ipaddress.IPv4Network | ipaddress.IPv6Network

NETLINK_NETFILTER: Final = 12
NLM_F_APPEND: Final = 0x800
NFNL_MSG_BATCH_BEGIN: Final = 0x10
NFNL_MSG_BATCH_END: Final = 0x11
NFNL_SUBSYS_NFTABLES: Final = 10
NFT_MSG_NEWTABLE: Final = NFNL_SUBSYS_NFTABLES << 8
NFT_MSG_DELTABLE: Final = NFT_MSG_NEWTABLE | 2
NFT_MSG_NEWCHAIN: Final = NFT_MSG_NEWTABLE | 3
NFT_MSG_NEWRULE: Final = NFT_MSG_NEWTABLE | 6
NFPROTO_INET: Final = 1
NFPROTO: Final = {4: 2, 6: 10}
NF_INET_POST_ROUTING: Final = 4
NF_IP_PRI_NAT_SRC: Final = 100
NLA_F_NESTED: Final = 0x8000

NFT_REG_1: Final = 1
NFT_META_OIFNAME: Final = 7
NFT_META_NFPROTO: Final = 15
NFT_CMP_EQ: Final = 0
NFT_CMP_NEQ: Final = 1
NFT_PAYLOAD_NETWORK_HEADER: Final = 1
SOURCE_OFFSET: Final = {4: 12, 6: 8}
IFNAMSIZ: Final = 16
CHAIN: Final = "postrouting"


def write_masquerade(bridge: str, subnets: list[Subnet]) -> None:
    """Masquerade what leaves the host from `subnets` of `bridge`; the table goes without any.

    Raises:
        SetupError: the kernel refused, or has no nftables.
    """
    table = f"ocirun-{bridge}"
    named = _text(1, table)
    # Order: made if it is not there, so that removing it cannot fail.
    messages = [(NFT_MSG_NEWTABLE, NLM_F_CREATE, named), (NFT_MSG_DELTABLE, 0, named)]
    if subnets:
        hook = _number(1, NF_INET_POST_ROUTING) + _number(2, NF_IP_PRI_NAT_SRC)
        chain = named + _text(3, CHAIN) + _nested(4, hook) + _text(7, "nat")
        messages.append((NFT_MSG_NEWTABLE, NLM_F_CREATE, named))
        messages.append((NFT_MSG_NEWCHAIN, NLM_F_CREATE, chain))
    for subnet in subnets:
        rule = named + _text(2, CHAIN) + _nested(4, _masquerade(subnet, bridge))
        messages.append((NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND, rule))
    with doing(f"writing the nftables table {table}"):
        try:
            netlink = Netlink(protocol=NETLINK_NETFILTER)
        except OSError as error:
            if error.errno == EPROTONOSUPPORT and not subnets:
                return  # there is no nftables here, and so no table
            raise
        with netlink:
            begin, end = _message(NFNL_MSG_BATCH_BEGIN), _message(NFNL_MSG_BATCH_END)
            netlink.transact(begin, [_message(*message) for message in messages], end)


def _masquerade(subnet: Subnet, bridge: str) -> bytes:
    size = subnet.max_prefixlen // 8
    data = NFT_REG_1
    return b"".join(
        (
            _expression("meta", _number(1, data) + _number(2, NFT_META_NFPROTO)),
            _compare(NFT_CMP_EQ, bytes([NFPROTO[subnet.version]])),
            _expression(
                "payload",
                _number(1, data)
                + _number(2, NFT_PAYLOAD_NETWORK_HEADER)
                + _number(3, SOURCE_OFFSET[subnet.version])
                + _number(4, size),
            ),
            _expression(
                "bitwise",
                _number(1, data)
                + _number(2, data)
                + _number(3, size)
                + _nested(4, _attribute(1, subnet.netmask.packed))
                + _nested(5, _attribute(1, bytes(size))),
            ),
            _compare(NFT_CMP_EQ, subnet.network_address.packed),
            _expression("meta", _number(1, data) + _number(2, NFT_META_OIFNAME)),
            _compare(NFT_CMP_NEQ, bridge.encode().ljust(IFNAMSIZ, b"\0")),
            _expression("masq", b""),
        )
    )


def _compare(operation: int, value: bytes) -> bytes:
    body = _number(1, NFT_REG_1) + _number(2, operation) + _nested(3, _attribute(1, value))
    return _expression("cmp", body)


def _expression(name: str, body: bytes) -> bytes:
    return _nested(1, _text(1, name) + _nested(2, body))


def _message(kind: int, flags: int = 0, body: bytes = b"") -> tuple[int, int, bytes]:
    """Return a message of nfnetlink for Netlink.transact: kind, flags, what follows the header."""
    batch = kind in (NFNL_MSG_BATCH_BEGIN, NFNL_MSG_BATCH_END)
    family, resource = (0, NFNL_SUBSYS_NFTABLES) if batch else (NFPROTO_INET, 0)
    return (
        kind,
        flags | NLM_F_REQUEST,
        struct.pack("=BB", family, 0) + struct.pack(">H", resource) + body,
    )


def _attribute(kind: int, data: bytes) -> bytes:
    return struct.pack("=HH", len(data) + 4, kind) + data + bytes(-len(data) % 4)


def _nested(kind: int, data: bytes) -> bytes:
    return _attribute(kind | NLA_F_NESTED, data)


def _number(kind: int, value: int) -> bytes:
    return _attribute(kind, struct.pack(">I", value))


def _text(kind: int, value: str) -> bytes:
    return _attribute(kind, value.encode() + b"\0")
