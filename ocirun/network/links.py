"""Network devices and their addresses, by rtnetlink.

Source: rtnetlink(7); include/uapi/linux/if_link.h, linux/if_addr.h; docs.pyroute2.org.
"""

from __future__ import annotations

import os
from errno import ENODEV

from ocirun.network.messages import ifaddrmsg, ifinfmsg, rtmsg
from ocirun.network.netlink import NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ipaddress
    from typing import Any, Final

    from ocirun.network.netlink import Netlink

RTM_NEWLINK: Final = 16
RTM_DELLINK: Final = 17
RTM_GETLINK: Final = 18
RTM_NEWADDR: Final = 20
RTM_GETADDR: Final = 22
RTM_NEWROUTE: Final = 24

IFF_UP: Final = 1
IFA_F_PERMANENT: Final = 0x80
# The address flags that a caller may set: IFA_F_NODAD, HOMEADDRESS, MANAGETEMPADDR, NOPREFIXROUTE.
IFA_F_SETTABLE: Final = 0x02 | 0x10 | 0x100 | 0x200
IFA_F_NODAD: Final = 0x02
RT_SCOPE_UNIVERSE: Final = 0
RT_TABLE_MAIN: Final = 254
RTPROT_STATIC: Final = 4
RTN_UNICAST: Final = 1
AF_INET: Final = 2
AF_INET6: Final = 10


class Link:
    """A snapshot of a network device.

    `kind` is the type that `ip link add type` takes, "" for a physical device; `master` the index
    of the device it is a port of, 0 without one; `hardware` its address as text, `hardware_type`
    its ARPHRD number.
    """

    __slots__ = (
        *("alias", "hardware", "hardware_type", "index", "is_up", "kind", "master", "mtu", "name"),
    )

    def __init__(self, message: Any) -> None:  # noqa: ANN401  # pyroute2's
        self.index = int(message["index"])
        self.name = str(message.get_attr("IFLA_IFNAME"))
        self.alias = message.get_attr("IFLA_IFALIAS") or ""
        information = message.get_attr("IFLA_LINKINFO")
        if isinstance(information, bytes):  # pyroute2 does not understand it
            information = None
        self.kind = (information and information.get_attr("IFLA_INFO_KIND")) or ""
        self.hardware = message.get_attr("IFLA_ADDRESS") or ""
        self.master = int(message.get_attr("IFLA_MASTER") or 0)
        self.hardware_type = int(message["ifi_type"])
        self.mtu = int(message.get_attr("IFLA_MTU") or 0)
        self.is_up = bool(message["flags"] & IFF_UP)


def find_link(netlink: Netlink, name: str) -> Link | None:
    """Return the network device `name`, which may be an alternative name; None without one.

    Raises:
        OSError: the query failed.
    """
    message = ifinfmsg()
    # Kernel: IFLA_ALT_IFNAME takes names of either kind; an alternative name may be too long for
    # IFLA_IFNAME.
    message["attrs"] = [("IFLA_ALT_IFNAME", name)]
    try:
        return Link(netlink.get(RTM_GETLINK, message)[0])
    except OSError as error:
        if error.errno == ENODEV:
            return None
        raise


def require_link(netlink: Netlink, name: str) -> Link:
    """Return the network device `name`.

    Raises:
        OSError: ENODEV, there is none; the query failed.
    """
    link = find_link(netlink, name)
    if link is None:
        raise OSError(ENODEV, os.strerror(ENODEV))
    return link


def all_links(netlink: Netlink) -> list[Link]:
    """Return all network devices."""
    return [Link(message) for message in netlink.dump(RTM_GETLINK, ifinfmsg())]


def add_link(
    netlink: Netlink,
    kind: str,
    name: str,
    data: list[tuple[str, object]] | None = None,
    **attributes: object,
) -> None:
    """Create a network device; `data` are the attributes of its kind, `attributes` as in set_link.

    Raises:
        OSError: EEXIST, the name is taken; the kernel does not know the kind.
    """
    message = ifinfmsg()
    information: list[tuple[str, object]] = [("IFLA_INFO_KIND", kind)]
    if data:
        information.append(("IFLA_INFO_DATA", {"attrs": data}))
    message["attrs"] = [
        ("IFLA_IFNAME", name),
        ("IFLA_LINKINFO", {"attrs": information}),
        *((f"IFLA_{word}", value) for word, value in attributes.items()),
    ]
    netlink.change(RTM_NEWLINK, message, NLM_F_CREATE | NLM_F_EXCL)


def delete_link(netlink: Netlink, index: int) -> None:
    """Remove a network device; one that is already gone is no error.

    Raises:
        OSError: the kernel refused.
    """
    message = ifinfmsg()
    message["index"] = index
    try:
        netlink.change(RTM_DELLINK, message)
    except OSError as error:
        if error.errno != ENODEV:
            raise


def set_link(netlink: Netlink, index: int, *, up: bool | None = None, **attributes: object) -> None:
    """Change a network device: its state, and attributes of linux/if_link.h without IFLA_.

    Raises:
        OSError: the kernel refused.
    """
    message = ifinfmsg()
    message["index"] = index
    if up is not None:
        message["flags"] = IFF_UP if up else 0
        message["change"] = IFF_UP
    message["attrs"] = [(f"IFLA_{name}", value) for name, value in attributes.items()]
    netlink.change(RTM_NEWLINK, message)


def permanent_addresses(netlink: Netlink, index: int) -> list[Any]:
    """Return the permanent addresses of a network device, as pyroute2 messages."""
    found = netlink.dump(RTM_GETADDR, ifaddrmsg())
    return [
        address
        for address in found
        if address["index"] == index and address_flags(address) & IFA_F_PERMANENT
    ]


def address_flags(address: Any) -> int:  # noqa: ANN401
    """Return the flags of an address, from the attribute, which has more bits than the header."""
    flags = address.get_attr("IFA_FLAGS")
    return int(address["flags"] if flags is None else flags)


def give_address(netlink: Netlink, index: int, address: Any) -> None:  # noqa: ANN401
    """Add to the network device `index` a permanent address of another device.

    The label of an IPv4 address is dropped: it contains the old device's name.

    Raises:
        OSError: the kernel refused.
    """
    message = ifaddrmsg()
    for name in ("family", "prefixlen", "scope"):
        message[name] = address[name]
    message["index"] = index
    kept = ("IFA_ADDRESS", "IFA_LOCAL", "IFA_BROADCAST", "IFA_RT_PRIORITY", "IFA_PROTO")
    message["attrs"] = [
        (name, value) for name in kept if (value := address.get_attr(name)) is not None
    ]
    if flags := address_flags(address) & IFA_F_SETTABLE:
        message["attrs"].append(("IFA_FLAGS", flags))
    netlink.change(RTM_NEWADDR, message, NLM_F_CREATE | NLM_F_REPLACE)


def add_address(
    netlink: Netlink, index: int, address: ipaddress.IPv4Interface | ipaddress.IPv6Interface
) -> None:
    """Add an address to a network device, usable at once; an existing one is no error.

    Raises:
        OSError: the kernel refused.
    """
    message = ifaddrmsg()
    message["family"] = AF_INET if address.version == 4 else AF_INET6
    message["prefixlen"] = address.network.prefixlen
    message["index"] = index
    message["attrs"] = [("IFA_LOCAL", str(address.ip)), ("IFA_ADDRESS", str(address.ip))]
    if address.version == 6:
        message["attrs"].append(("IFA_FLAGS", IFA_F_NODAD))
    elif address.network.prefixlen < 31:
        broadcast = str(address.network.broadcast_address)
        message["attrs"].append(("IFA_BROADCAST", broadcast))
    netlink.change(RTM_NEWADDR, message, NLM_F_CREATE | NLM_F_REPLACE)


def addresses_of_all(netlink: Netlink) -> list[tuple[int, str]]:
    """Return the addresses of all network devices as (device index, text as ip(8) prints it)."""
    found = netlink.dump(RTM_GETADDR, ifaddrmsg())
    return [(int(address["index"]), address_text(address)) for address in found]


def add_default_route(
    netlink: Netlink, index: int, gateway: ipaddress.IPv4Address | ipaddress.IPv6Address
) -> None:
    """Add a default route through `gateway`, reached by the network device `index`.

    Raises:
        OSError: EEXIST, a default route exists.
    """
    message = rtmsg()
    message["family"] = AF_INET if gateway.version == 4 else AF_INET6
    message["table"] = RT_TABLE_MAIN
    message["proto"] = RTPROT_STATIC
    message["type"] = RTN_UNICAST
    message["attrs"] = [("RTA_GATEWAY", str(gateway)), ("RTA_OIF", index)]
    netlink.change(RTM_NEWROUTE, message, NLM_F_CREATE | NLM_F_EXCL)


def address_text(address: Any) -> str:  # noqa: ANN401
    """Return an address as ip(8) prints it."""
    local = address.get_attr("IFA_LOCAL") or address.get_attr("IFA_ADDRESS")
    return f"{local}/{address['prefixlen']}"
