"""Networks of type macvlan: a device with its own hardware address on a device of the host.

It leaves nothing on the host and ends with its namespace. From a joined namespace it is removed.

Source: docs/network.md#networks; include/uapi/linux/if_link.h, enum macvlan_mode.
"""

from __future__ import annotations

import os

from ocirun.errors import SetupError, doing
from ocirun.network.inside import configure_device
from ocirun.network.links import add_link, delete_link, find_link
from ocirun.network.netlink import Netlink

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirun.network.attachment import Attachment
    from ocirun.network.sides import Sides

configure = configure_device


def check(attachment: Attachment, host: Netlink) -> None:
    """Check that the parent device exists.

    Raises:
        SetupError: it does not.
    """
    with doing(f"finding network device {attachment.parent}"):
        if find_link(host, attachment.parent) is None:
            raise SetupError(f"network device {attachment.parent} does not exist")


def create(attachment: Attachment, sides: Sides) -> None:
    """Create the device in the container's namespace.

    Raises:
        SetupError: the kernel refused; the name in the container is taken.
    """
    with doing(f"making network device {attachment.name} in the container"):
        link = find_link(sides.host, attachment.parent)
        if link is None:
            raise SetupError(f"network device {attachment.parent} does not exist")
        more = {"MTU": attachment.mtu} if attachment.mtu else {}
        add_link(
            sides.host,
            "macvlan",
            attachment.name,
            [("IFLA_MACVLAN_MODE", attachment.mode)],
            LINK=link.index,
            NET_NS_FD=sides.container_fd,
            **more,
        )


def remove(attachment: Attachment, _: Netlink) -> None:
    """Remove the device from a joined namespace.

    Raises:
        SetupError: the kernel refused.
    """
    if not attachment.path:
        return
    try:
        fd = os.open(attachment.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return  # the device is gone with it
    try:
        with doing(f"removing network device {attachment.name}"), Netlink(fd) as container:
            link = find_link(container, attachment.name)
            if link and link.kind == "macvlan":
                delete_link(container, link.index)
    finally:
        os.close(fd)
