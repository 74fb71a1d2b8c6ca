"""What the parent does about the network of an init that is in its namespaces and waits.

    procReady ─► devices of the host move in, others are made ─► procRun

Cold: only for containers that ask for it.

Source: ARCHITECTURE.md#the-story; docs/network.md.
"""

from __future__ import annotations

from ocirun.network.net_devices import NetDevices
from ocirun.network.sides import Sides
from ocirun.spec import BY_PROGRAM

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirun.container.create import Creation


def open_sides(making: Creation) -> Sides:
    """Open the host's and the container's network namespace.

    Closing them is added to undo. Returns:
        What `connect` needs; the caller closes it.
    """
    sides = Sides(making.pid())
    # Order: closed last, after all that is undone.
    making.undo.add("closing network namespaces", sides.close)
    return sides


def connect(making: Creation, sides: Sides) -> None:
    """Move linux.netDevices and make the networks of the container that is being made.

    What was done is added to its undo.

    Raises:
        SetupError: a device is missing, cannot be moved or made; a name or an address is taken.
    """
    devices = making.config["linux"].get("netDevices")
    if devices or any(network.type not in BY_PROGRAM for network in making.networks):
        sides.enter()
    if devices:
        NetDevices(devices, sides).move(making.undo.add)
    if making.networks:
        from ocirun.container.networks import attach_networks

        folder, pidfd = making.record.directory, making.init_pidfd()
        attachments = attach_networks(folder, making.networks, sides, pidfd, making.undo.add)
        if names := [network.names for network in making.networks if network.names]:
            from ocirun.container.network_files import fill_hosts

            addresses = [str(each.ip) for made in attachments for each in made.addresses]
            fill_hosts(making.config, names, folder, addresses)
