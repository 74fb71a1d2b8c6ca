"""Networks of type loopback: `lo`.

`create` always brings it up in a new namespace; this also does so in a joined one.
"""

from __future__ import annotations

from ocirun.errors import doing
from ocirun.network.links import find_link, set_link

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirun.network.attachment import Attachment
    from ocirun.network.netlink import Netlink
    from ocirun.network.sides import Sides


def check(_: Attachment, __: Netlink) -> None:
    """Do nothing: every namespace has lo."""


def create(_: Attachment, __: Sides) -> None:
    """Do nothing: every namespace has lo."""


def configure(_: Attachment, container: Netlink) -> None:
    """Bring lo up.

    Raises:
        SetupError: the kernel refused.
    """
    with doing("setting network device lo up"):
        link = find_link(container, "lo")
        if link and not link.is_up:
            set_link(container, link.index, up=True)


def remove(_: Attachment, __: Netlink) -> None:
    """Do nothing: lo stays up."""
