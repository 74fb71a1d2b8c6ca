"""The messages of nf_tables: tables, chains, rules and expressions as bytes.

An expression loads a value into a register or compares one; the last one of a rule acts. We do not
call nft(8), which not every host has, and pyroute2 would load asyncio for this.

Source: nft(8); kernel include/uapi/linux/netfilter/nf_tables.h.
"""

from __future__ import annotations

import struct

from ocirun.network.netlink import NLM_F_REQUEST

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ipaddress
    from collections.abc import Iterator
    from typing import Final

    Subnet = ipaddress.IPv4Network | ipaddress.IPv6Network
    Address = ipaddress.IPv4Address | ipaddress.IPv6Address

NETLINK_NETFILTER: Final = 12
NFNL_MSG_BATCH_BEGIN: Final = 0x10
NFNL_MSG_BATCH_END: Final = 0x11
NFNL_SUBSYS_NFTABLES: Final = 10
NFPROTO_INET: Final = 1
NFPROTO: Final = {4: 2, 6: 10}
NLA_F_NESTED: Final = 0x8000
NLA_TYPE_MASK: Final = 0x3FFF
NFGENMSG_SIZE: Final = 4
IFNAMSIZ: Final = 16

NFT_REG_VERDICT: Final = 0
NFT_REG_1: Final = 1
NFT_REG_2: Final = 2
NFT_META_IIFNAME: Final = 6
NFT_META_OIFNAME: Final = 7
NFT_META_NFPROTO: Final = 15
NFT_META_L4PROTO: Final = 16
NFT_CMP_EQ: Final = 0
NFT_CMP_NEQ: Final = 1
NFT_CMP_LTE: Final = 3
NFT_CMP_GTE: Final = 5
NFT_PAYLOAD_NETWORK_HEADER: Final = 1
NFT_PAYLOAD_TRANSPORT_HEADER: Final = 2
SOURCE_OFFSET: Final = {4: 12, 6: 8}
DESTINATION_OFFSET: Final = {4: 16, 6: 24}
PORT_OFFSET: Final = 2  # of the destination, in the header of TCP and of UDP
IPPROTO: Final = {"tcp": 6, "udp": 17}
NFT_FIB_RESULT_ADDRTYPE: Final = 3
NFTA_FIB_F_DADDR: Final = 2
RTN_LOCAL: Final = 2
NFT_CT_STATUS: Final = 2
IPS_DST_NAT: Final = 0x20
NFT_NAT_DNAT: Final = 1
NF_DROP: Final = 0
UDATA_COMMENT: Final = 0  # the type of a comment in nft(8)'s user data


def message(kind: int, flags: int = 0, body: bytes = b"") -> tuple[int, int, bytes]:
    """Return an nfnetlink message for Netlink.transact: kind, flags, bytes after the header."""
    batch = kind in (NFNL_MSG_BATCH_BEGIN, NFNL_MSG_BATCH_END)
    family, resource = (0, NFNL_SUBSYS_NFTABLES) if batch else (NFPROTO_INET, 0)
    return (
        kind,
        flags | NLM_F_REQUEST,
        struct.pack("=BB", family, 0) + struct.pack(">H", resource) + body,
    )


def attributes_of(body: bytes) -> dict[int, bytes]:
    """Return the attributes of an nfnetlink message (without its header) by kind."""
    found, offset = {}, NFGENMSG_SIZE
    while offset + 4 <= len(body):
        length, kind = struct.unpack_from("=HH", body, offset)
        found[kind & NLA_TYPE_MASK] = body[offset + 4 : offset + length]
        offset += max((length + 3) & ~3, 4)
    return found


def comment(text: str) -> bytes:
    """Return user data that nft(8) shows as the comment `text`, at most 250 bytes."""
    data = text.encode("ascii", "replace")[:250] + b"\0"
    return bytes([UDATA_COMMENT, len(data)]) + data


def comment_of(data: bytes) -> str:
    """Return the comment in user data, "" without one."""
    if len(data) < 2 or data[0] != UDATA_COMMENT:
        return ""
    return data[2 : 2 + data[1]].rstrip(b"\0").decode("ascii", "replace")


def attribute(kind: int, data: bytes) -> bytes:
    """Return an attribute: its header and `data`, padded to four bytes."""
    return struct.pack("=HH", len(data) + 4, kind) + data + bytes(-len(data) % 4)


def nested(kind: int, data: bytes) -> bytes:
    """Return a nested attribute; `data` are its attributes."""
    return attribute(kind | NLA_F_NESTED, data)


def number(kind: int, value: int) -> bytes:
    """Return an attribute with a signed 32-bit number."""
    return attribute(kind, struct.pack(">I", value & 0xFFFFFFFF))


def text(kind: int, value: str) -> bytes:
    """Return an attribute with a NUL-terminated string."""
    return attribute(kind, value.encode() + b"\0")


def is_family(version: int) -> bytes:
    """Match packets of IPv4 or IPv6."""
    return _load_meta(NFT_META_NFPROTO) + compare(NFT_CMP_EQ, bytes([NFPROTO[version]]))


def is_from(subnet: Subnet) -> bytes:
    """Match packets whose source is in `subnet`."""
    return _in_subnet(subnet, SOURCE_OFFSET, equal=True)


def is_to(subnet: Subnet, *, equal: bool = True) -> bytes:
    """Match packets whose destination is in `subnet`; outside of it if not `equal`."""
    return _in_subnet(subnet, DESTINATION_OFFSET, equal=equal)


def is_to_host() -> bytes:
    """Match packets whose destination is an address of the host, loopback included."""
    result = number(1, NFT_REG_1) + number(2, NFT_FIB_RESULT_ADDRTYPE) + number(3, NFTA_FIB_F_DADDR)
    return expression("fib", result) + compare(NFT_CMP_EQ, struct.pack("=I", RTN_LOCAL))


def is_to_port(protocol: str, first: int, last: int) -> bytes:
    """Match packets of "tcp" or "udp" to the ports from `first` to `last`."""
    return b"".join(
        (
            _load_meta(NFT_META_L4PROTO),
            compare(NFT_CMP_EQ, bytes([IPPROTO[protocol]])),
            _load_payload(NFT_PAYLOAD_TRANSPORT_HEADER, PORT_OFFSET, 2),
            *_range(first, last),
        )
    )


def comes_from(device: str) -> bytes:
    """Match packets received on the network device `device`."""
    return _load_meta(NFT_META_IIFNAME) + compare(NFT_CMP_EQ, _padded(device))


def goes_to(device: str, *, equal: bool = True) -> bytes:
    """Match packets sent on the network device `device`; on any other if not `equal`."""
    operation = NFT_CMP_EQ if equal else NFT_CMP_NEQ
    return _load_meta(NFT_META_OIFNAME) + compare(operation, _padded(device))


def is_redirected() -> bytes:
    """Match packets of connections with destination NAT."""
    load = expression("ct", number(1, NFT_REG_1) + number(2, NFT_CT_STATUS))
    mask = struct.pack("=I", IPS_DST_NAT)
    return load + _mask(mask) + compare(NFT_CMP_NEQ, bytes(4))


def masquerade() -> bytes:
    """Replace the source address by that of the outgoing device."""
    return expression("masq", b"")


def redirect(address: Address, port: int | None) -> bytes:
    """Change the destination to `address` and `port`; None keeps the port."""
    parts = [_immediate(NFT_REG_1, address.packed)]
    to = number(1, NFT_NAT_DNAT) + number(2, NFPROTO[address.version]) + number(3, NFT_REG_1)
    if port is not None:
        parts.append(_immediate(NFT_REG_2, struct.pack(">H", port)))
        to += number(5, NFT_REG_2)
    return b"".join((*parts, expression("nat", to)))


def drop() -> bytes:
    """Drop packets."""
    verdict = nested(2, nested(2, number(1, NF_DROP)))
    return expression("immediate", number(1, NFT_REG_VERDICT) + verdict)


def compare(operation: int, value: bytes) -> bytes:
    """Compare the first register with `value`; the rule ends if the comparison is false."""
    body = number(1, NFT_REG_1) + number(2, operation) + nested(3, attribute(1, value))
    return expression("cmp", body)


def expression(name: str, body: bytes) -> bytes:
    """Return an expression of the kernel module `name`."""
    return nested(1, text(1, name) + nested(2, body))


def _load_meta(key: int) -> bytes:
    return expression("meta", number(1, NFT_REG_1) + number(2, key))


def _load_payload(base: int, offset: int, size: int) -> bytes:
    body = number(1, NFT_REG_1) + number(2, base) + number(3, offset) + number(4, size)
    return expression("payload", body)


def _mask(mask: bytes) -> bytes:
    registers = number(1, NFT_REG_1) + number(2, NFT_REG_1) + number(3, len(mask))
    masks = nested(4, attribute(1, mask)) + nested(5, attribute(1, bytes(len(mask))))
    return expression("bitwise", registers + masks)


def _immediate(register: int, value: bytes) -> bytes:
    return expression("immediate", number(1, register) + nested(2, attribute(1, value)))


def _in_subnet(subnet: Subnet, offsets: dict[int, int], *, equal: bool) -> bytes:
    operation = NFT_CMP_EQ if equal else NFT_CMP_NEQ
    return b"".join(
        (
            is_family(subnet.version),
            _load_payload(
                NFT_PAYLOAD_NETWORK_HEADER, offsets[subnet.version], subnet.max_prefixlen // 8
            ),
            _mask(subnet.netmask.packed),
            compare(operation, subnet.network_address.packed),
        )
    )


def _range(first: int, last: int) -> Iterator[bytes]:
    if first == last:
        yield compare(NFT_CMP_EQ, struct.pack(">H", first))
    else:
        yield compare(NFT_CMP_GTE, struct.pack(">H", first))
        yield compare(NFT_CMP_LTE, struct.pack(">H", last))


def _padded(device: str) -> bytes:
    return device.encode().ljust(IFNAMSIZ, b"\0")
