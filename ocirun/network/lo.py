"""Networks of type loopback: `lo`, which create sets up anyway in a new namespace.

Asked for, it is set up in a joined namespace as well.
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
    """Refuse nothing: every namespace has it."""


def create(_: Attachment, __: Sides) -> None:
    """Make nothing."""


def configure(_: Attachment, container: Netlink) -> None:
    """Set lo up.

    Raises:
        SetupError: the kernel refused.
    """
    with doing("setting network device lo up"):
        link = find_link(container, "lo")
        if link and not link.is_up:
            set_link(container, link.index, up=True)


def remove(_: Attachment, __: Netlink) -> None:
    """Leave it as it is."""
