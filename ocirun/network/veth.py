"""Networks of type veth: a pair of devices, one in the container, one a port of a bridge.

Source: veth(4); docs/network.md#networks.
"""

from __future__ import annotations

from ocirun.errors import SetupError, doing
from ocirun.network.bridge import make_bridge
from ocirun.network.inside import configure_device
from ocirun.network.links import add_link, delete_link, find_link, set_link
from ocirun.network.owner import alias_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirun.network.attachment import Attachment
    from ocirun.network.netlink import Netlink
    from ocirun.network.sides import Sides

configure = configure_device


def check(attachment: Attachment, host: Netlink) -> None:
    """Check that an existing device with the bridge's name is a bridge.

    Raises:
        SetupError: it is not.
    """
    with doing(f"finding bridge {attachment.bridge}"):
        link = find_link(host, attachment.bridge)
    if link and link.kind != "bridge":
        raise SetupError(f"network device {attachment.bridge} is not a bridge")


def create(attachment: Attachment, sides: Sides) -> None:
    """Create the pair, and the bridge if it is missing; name the end in the container.

    Raises:
        SetupError: the kernel refused; the name in the container is taken.
    """
    bridge = make_bridge(attachment, sides.host)
    what = f"making network device {attachment.name} in the container"
    with doing(what):
        mtu = [("IFLA_MTU", attachment.mtu)] if attachment.mtu else []
        peer = [
            ("IFLA_IFNAME", attachment.name),
            ("IFLA_NET_NS_FD", sides.container_fd),
            *mtu,
        ]
        data: list[tuple[str, object]] = [("VETH_INFO_PEER", {"index": 0, "attrs": peer})]
        more = {"MTU": attachment.mtu} if attachment.mtu else {}
        add_link(sides.host, "veth", attachment.host, data, **more)
    with doing(f"making {attachment.host} a port of bridge {attachment.bridge}"):
        link = find_link(sides.host, attachment.host)
        if link is None:
            raise SetupError(f"network device {attachment.host} is gone")
        alias = alias_of(attachment.owner, attachment.container)
        set_link(sides.host, link.index, MASTER=bridge, IFALIAS=alias)
        if attachment.ports:
            # A container may connect to its own published port: with bridge-nf-call-iptables that
            # packet leaves by the port it came in by.
            mode = {"attrs": [("IFLA_BRPORT_MODE", 1)]}
            kind = [("IFLA_INFO_SLAVE_KIND", "bridge"), ("IFLA_INFO_SLAVE_DATA", mode)]
            set_link(sides.host, link.index, LINKINFO={"attrs": kind})
        set_link(sides.host, link.index, up=True)


def remove(attachment: Attachment, host: Netlink) -> None:
    """Remove the pair, unless it ended with the namespace.

    Raises:
        SetupError: the kernel refused.
    """
    with doing(f"removing network device {attachment.host}"):
        link = find_link(host, attachment.host)
        if link and link.kind == "veth":
            delete_link(host, link.index)
