"""Network devices and their addresses, as rtnetlink has them.

Source: rtnetlink(7); include/uapi/linux/if_link.h, linux/if_addr.h; docs.pyroute2.org.
"""

from __future__ import annotations

from errno import ENODEV

from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg

from ocirun.network.netlink import NLM_F_CREATE, NLM_F_REPLACE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    from ocirun.network.netlink import Netlink

RTM_NEWLINK: Final = 16
RTM_GETLINK: Final = 18
RTM_NEWADDR: Final = 20
RTM_GETADDR: Final = 22

IFF_UP: Final = 1
IFA_F_PERMANENT: Final = 0x80
# The flags of an address that a caller may set: no DAD, home address, temporary addresses derived
# from it, no route of its prefix.
IFA_F_SETTABLE: Final = 0x02 | 0x10 | 0x100 | 0x200
RT_SCOPE_UNIVERSE: Final = 0


class Link:
    """A network device as it was when it was read.

    `master` is the index of what it is a port of, 0 for nothing; `hardware` its address as text.
    """

    __slots__ = ("hardware", "index", "is_up", "master", "name")

    def __init__(self, message: Any) -> None:  # noqa: ANN401  # pyroute2's
        self.index = int(message["index"])
        self.name = str(message.get_attr("IFLA_IFNAME"))
        self.hardware = message.get_attr("IFLA_ADDRESS") or ""
        self.master = int(message.get_attr("IFLA_MASTER") or 0)
        self.is_up = bool(message["flags"] & IFF_UP)


def find_link(netlink: Netlink, name: str) -> Link | None:
    """Return the network device `name`, which may be an alternative name of it; None without one.

    Raises:
        OSError: the kernel does not say.
    """
    message = ifinfmsg()
    # Kernel: an alternative name is found by its own attribute, which takes either; it may be
    # longer than IFLA_IFNAME can be.
    message["attrs"] = [("IFLA_ALT_IFNAME", name)]
    try:
        return Link(netlink.get(RTM_GETLINK, message)[0])
    except OSError as error:
        if error.errno == ENODEV:
            return None
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
    """Return the permanent addresses of a network device, as messages of pyroute2."""
    found = netlink.dump(RTM_GETADDR, ifaddrmsg())
    return [
        address
        for address in found
        if address["index"] == index and address_flags(address) & IFA_F_PERMANENT
    ]


def address_flags(address: Any) -> int:  # noqa: ANN401
    """Return the flags of an address; the attribute has those that the header has no room for."""
    flags = address.get_attr("IFA_FLAGS")
    return int(address["flags"] if flags is None else flags)


def give_address(netlink: Netlink, index: int, address: Any) -> None:  # noqa: ANN401
    """Add to the network device `index` a permanent address that another one had.

    The label of an IPv4 address stays behind: it repeats the name the device had.

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


def address_text(address: Any) -> str:  # noqa: ANN401
    """Return an address as ip(8) writes it."""
    local = address.get_attr("IFA_LOCAL") or address.get_attr("IFA_ADDRESS")
    return f"{local}/{address['prefixlen']}"
