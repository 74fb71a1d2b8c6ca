"""Bridges: created for the first container that needs one, removed with the last.

A bridge that existed before is used unchanged.

Source: ip-link(8); docs/network.md#bridges.
"""

from __future__ import annotations

import os

from ocirun.errors import SetupError, doing
from ocirun.network.links import add_address, add_link, delete_link, find_link, set_link
from ocirun.network.owner import alias_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirun.network.attachment import Attachment
    from ocirun.network.netlink import Netlink


def make_bridge(attachment: Attachment, host: Netlink) -> int:
    """Return the index of the bridge; create it with its addresses if it is ours and missing.

    Raises:
        SetupError: the kernel refused.
    """
    name = attachment.bridge
    with doing(f"making bridge {name}"):
        link = find_link(host, name)
        if link is None:
            # Kernel: without an address of its own, a bridge takes that of one of its ports, and it
            # changes as ports come and go.
            add_link(host, "bridge", name, ADDRESS=random_hardware_address())
            link = find_link(host, name)
        if link is None:
            raise SetupError(f"making bridge {name}: it is gone again")
        if attachment.is_made:
            for address in attachment.bridge_addresses:
                add_address(host, link.index, address)
            alias = alias_of(attachment.owner, "bridge")
            set_link(host, link.index, up=True, IFALIAS=alias)
    return link.index


def remove_bridge(name: str, host: Netlink) -> None:
    """Remove a bridge that we created.

    Raises:
        SetupError: the kernel refused.
    """
    with doing(f"removing bridge {name}"):
        link = find_link(host, name)
        if link and link.kind == "bridge":
            delete_link(host, link.index)


def random_hardware_address() -> str:
    """Return a random, locally administered hardware address: bit 1 of the first byte is set."""
    first, *rest = os.urandom(6)
    return ":".join(f"{byte:02x}" for byte in [first & 0xFC | 0x02, *rest])
