"""All networks of one container, through the four functions of each type.

check      fail early, before anything is created
create     create the devices, on the host and in the container's namespace
configure  set addresses and routes and bring devices up, in the container's namespace
remove     undo create; a missing device is no error
"""

from __future__ import annotations

import ipaddress

from ocirun.errors import OcirunError, doing
from ocirun.network import lo, macvlan, veth
from ocirun.network.bridge import remove_bridge
from ocirun.network.forwarding import (
    put_back_sysctls,
    remember_sysctls,
    start_forwarding,
    table_of,
)
from ocirun.network.links import addresses_of_all, all_links
from ocirun.network.netlink import Netlink
from ocirun.network.nftables import Claim
from ocirun.network.ports import check_ports
from ocirun.network.settle import settle

TYPE_CHECKING = False
if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from typing import Any, Final

    from ocirun.network.attachment import Attachment
    from ocirun.network.sides import Sides
    from ocirun.spec.networks import Network

TYPES: Final[dict[str, Any]] = {"loopback": lo, "veth": veth, "macvlan": macvlan}


def claim_if(wanted: bool) -> AbstractContextManager[object]:
    """Return the lock on tables and sysctls shared by all state roots, or no lock."""
    from contextlib import nullcontext

    return Claim() if wanted else nullcontext()


def decide(
    networks: list[Network], held: list[Attachment], host: Netlink, *, owner: str, container: str
) -> list[Attachment]:
    """Return the attachments to create for `networks`, given those `held` by all containers.

    `owner` is the short form of the state root, `container` the id.

    Raises:
        SetupError: a device is missing on the host, or a name or address is taken.
    """
    with doing("reading the host's network devices"):
        names = {link.index: link.name for link in all_links(host)}
        devices: dict[str, list[Any]] = {name: [] for name in names.values()}
        for index, text in addresses_of_all(host):
            if index in names:
                devices[names[index]].append(ipaddress.ip_interface(text))
    found: list[Attachment] = []
    for network in networks:
        attachment = settle(network, [*held, *found], devices)
        attachment.owner, attachment.container = owner, container
        TYPES[network.type].check(attachment, host)
        if attachment.ports:
            check_ports(attachment, [*held, *found])
        if attachment.is_forwarded:
            remember_sysctls(attachment, [*held, *found])
        found.append(attachment)
    return found


def attach(attachments: list[Attachment], held: list[Attachment], sides: Sides) -> None:
    """Create and configure the devices; `held` are the attachments of other containers.

    Raises:
        SetupError: the kernel refused.
    """
    sides.require_two("unable to make network devices")
    made: list[Attachment] = []
    for attachment in attachments:
        TYPES[attachment.type].create(attachment, sides)
        TYPES[attachment.type].configure(attachment, sides.container)
        if attachment.is_forwarded:
            start_forwarding(attachment, [*held, *made])
        made.append(attachment)


def detach(attachments: list[Attachment], others: list[Attachment], *, shared: bool) -> None:
    """Remove the devices and, with `shared`, the bridges, rules and sysctls no one else uses.

    `others` are the attachments of other containers. Continues after a failure.

    Raises:
        OcirunError: the first failure, with the others as notes.
    """
    failures: list[OcirunError] = []
    with Netlink() as host:
        for attachment in attachments:
            _try(failures, TYPES[attachment.type].remove, attachment, host)
        if shared:
            _remove_shared(failures, attachments, others, host)
    if failures:
        for failure in failures[1:]:
            failures[0].add_note(f"and: {failure}")
        raise failures[0]


def _remove_shared(
    failures: list[OcirunError],
    attachments: list[Attachment],
    others: list[Attachment],
    host: Netlink,
) -> None:
    forwarded = [each for each in attachments if each.is_forwarded]
    with claim_if(bool(forwarded)):
        for attachment in forwarded:
            _try(failures, put_back_sysctls, attachment, others)
        for bridge, owner in {(each.bridge, each.owner) for each in forwarded}:
            _try(failures, table_of(bridge, owner, others).write)
    used = {other.bridge for other in others}
    for name in {each.bridge for each in attachments if each.is_made} - used:
        _try(failures, remove_bridge, name, host)


def _try(failures: list[OcirunError], act: Any, *arguments: Any) -> None:  # noqa: ANN401
    try:
        act(*arguments)
    except OcirunError as error:
        failures.append(error)
