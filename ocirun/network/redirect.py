"""Two network devices joined back to back: what one receives, the other sends.

Each has a qdisc `ingress` with one filter, which matches every packet and redirects it (tc-u32(8),
tc-mirred(8)). The messages are made here: pyroute2's for tc load asyncio.

Source: tc(8); kernel include/uapi/linux/pkt_sched.h, pkt_cls.h, tc_act/tc_mirred.h.
"""

from __future__ import annotations

import _socket
import struct
from errno import EEXIST, EINVAL, ENODEV, ENOENT

from ocirun.errors import SetupError, doing
from ocirun.network.netlink import NLM_F_CREATE, NLM_F_EXCL
from ocirun.network.nft_messages import attribute

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from ocirun.network.links import Link
    from ocirun.network.netlink import Netlink

RTM_NEWQDISC: Final = 36
RTM_DELQDISC: Final = 37
RTM_NEWTFILTER: Final = 44
TCMSG: Final = struct.Struct("=BxxxiIII")  # struct tcmsg: family, index, handle, parent, info
INGRESS: Final = 0xFFFF0000
TC_H_INGRESS: Final = 0xFFFFFFF1
ETH_P_ALL: Final = 3
PRIORITY: Final = 1
TCA_KIND, TCA_OPTIONS = 1, 2
TCA_U32_SEL, TCA_U32_ACT = 5, 7
TCA_ACT_KIND, TCA_ACT_OPTIONS = 1, 2
TCA_MIRRED_PARMS: Final = 2
# struct tc_u32_sel with one struct tc_u32_key of a zero mask; the flag is TC_U32_TERMINAL.
EVERY_PACKET: Final = struct.pack("=BBBxHHhhI", 1, 0, 1, 0, 0, 0, 0, 0) + bytes(16)
MIRRED: Final = struct.Struct("=IIiiiiI")  # index, capab, action, refcnt, bindcnt, eaction, ifindex
TC_ACT_STOLEN: Final = 4
TCA_EGRESS_REDIR: Final = 1


def claim_device(netlink: Netlink, device: Link) -> None:
    """Make the qdisc of a device for ingress.

    Raises:
        SetupError: it has one already; the kernel refused.
    """
    try:
        with doing(f"making an ingress qdisc of network device {device.name}"):
            _qdisc(netlink, RTM_NEWQDISC, device.index, NLM_F_CREATE | NLM_F_EXCL)
    except SetupError as error:
        if error.errno != EEXIST:
            raise
        message = f"network device {device.name} has an ingress qdisc already: another machine's?"
        raise SetupError(message, EEXIST) from error


def join_devices(netlink: Netlink, first: Link, second: Link) -> None:
    """Have each of two claimed devices send what the other receives.

    Their namespace gets none of it.

    Raises:
        SetupError: the kernel refused.
    """
    for device, other in ((first, second), (second, first)):
        with doing(f"redirecting network device {device.name} to {other.name}"):
            _redirect(netlink, device.index, other.index)


def part_device(netlink: Netlink, index: int) -> None:
    """Remove the qdisc of a device; without it, or without the device, nothing is done.

    Raises:
        OSError: the kernel refused.
    """
    try:
        _qdisc(netlink, RTM_DELQDISC, index, 0)
    except OSError as error:
        if error.errno not in (EINVAL, ENODEV, ENOENT):
            raise


def _qdisc(netlink: Netlink, kind: int, index: int, flags: int) -> None:
    message = TCMSG.pack(0, index, INGRESS, TC_H_INGRESS, 0)
    netlink.change_raw(kind, message + attribute(TCA_KIND, b"ingress\0"), flags)


def _redirect(netlink: Netlink, index: int, to: int) -> None:
    parameters = MIRRED.pack(0, 0, TC_ACT_STOLEN, 0, 0, TCA_EGRESS_REDIR, to)
    action = attribute(TCA_ACT_KIND, b"mirred\0") + attribute(
        TCA_ACT_OPTIONS, attribute(TCA_MIRRED_PARMS, parameters)
    )
    options = attribute(TCA_U32_SEL, EVERY_PACKET)
    options += attribute(TCA_U32_ACT, attribute(1, action))  # the first action
    message = TCMSG.pack(0, index, 0, INGRESS, PRIORITY << 16 | _socket.htons(ETH_P_ALL))
    message += attribute(TCA_KIND, b"u32\0") + attribute(TCA_OPTIONS, options)
    netlink.change_raw(RTM_NEWTFILTER, message, NLM_F_CREATE | NLM_F_EXCL)
