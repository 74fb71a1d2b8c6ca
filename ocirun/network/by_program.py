"""Networks made by a host program, through the functions of each of these types.

check      fail early, before anything is started
create     run the program; record in the attachment what is needed to undo it
remove     undo create; a program that is gone is no error

This loads no pyroute2, and holds no lock on the networks while a program runs.
"""

from __future__ import annotations

from ocirun.errors import OcirunError
from ocirun.network import cni, user
from ocirun.network.attachment import Attachment

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Final

    from ocirun.network.sides import Sides
    from ocirun.spec.networks import Network

TYPES: Final[dict[str, Any]] = {"cni": cni, "user": user}


def decide_by_program(networks: list[Network], container: str) -> list[Attachment]:
    """Return the attachments to create for `networks` of the container with the id `container`.

    Raises:
        SetupError: a program is missing, or does not support the configuration.
    """
    found = []
    for network in networks:
        attachment = Attachment()
        attachment.container = container
        for name in ("type", "name", "mtu", "path", "ports"):
            setattr(attachment, name, getattr(network, name))
        TYPES[network.type].check(attachment, network)
        found.append(attachment)
    return found


def attach_by_program(
    attachments: list[Attachment],
    sides: Sides,
    init_pidfd: int,
    folder: str,
    remember: Callable[[], object],
) -> None:
    """Run the programs; `remember` is called after each change of an attachment.

    `init_pidfd` (borrowed) is the container's init, `folder` the container's directory.

    Raises:
        SetupError: a program failed, or timed out.
    """
    sides.require_two("unable to make networks")
    for attachment in attachments:
        TYPES[attachment.type].create(attachment, sides, init_pidfd, folder)
        remember()


def detach_by_program(attachments: list[Attachment], folder: str) -> list[OcirunError]:
    """Undo what the programs did, in reverse order; continues after a failure.

    `folder` is the container's directory.

    Returns:
        The failures.
    """
    failures: list[OcirunError] = []
    for attachment in reversed(attachments):
        try:
            TYPES[attachment.type].remove(attachment, folder)
        except OcirunError as error:
            failures.append(error)
    if not failures:
        try:
            cni.unmount_namespace(folder)
        except OcirunError as error:
            failures.append(error)
    return failures
