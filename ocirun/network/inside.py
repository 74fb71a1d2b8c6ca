"""Configure a device in the container: addresses, up, default routes."""

from __future__ import annotations

from ocirun.errors import SetupError, doing
from ocirun.network.links import add_address, add_default_route, find_link, set_link

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirun.network.attachment import Attachment
    from ocirun.network.netlink import Netlink


def configure_device(attachment: Attachment, container: Netlink) -> None:
    """Add the addresses of the device, bring it up, and add its routes.

    Raises:
        SetupError: the kernel refused, or there is a default route already.
    """
    name = attachment.name
    link = find_link(container, name)
    if link is None:
        raise SetupError(f"network device {name} is not in the container")
    for address in attachment.addresses:
        with doing(f"adding {address} to network device {name}"):
            add_address(container, link.index, address)
    with doing(f"setting network device {name} up"):
        set_link(container, link.index, up=True)
    for gateway in attachment.gateways:
        # Order: bringing the device up creates the route to the gateway.
        with doing(f"adding the default route through {gateway}"):
            add_default_route(container, link.index, gateway)
