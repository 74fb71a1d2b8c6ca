"""The data of `ocirun net ls` and `net inspect`: which container holds which network device.

It comes from the records, and for linux.netDevices from config.json as it was at create. The kernel
is asked whether a device on the host still exists.

Source: docs/network.md#looking-and-cleaning-up.
"""

from __future__ import annotations

from ocirun.container.networks import read_attachments
from ocirun.container.record import Record, read_config
from ocirun.container.status import STOPPED, status_of
from ocirun.errors import ContainerError, ContainerNotFound, OcirunError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ocirun.container.folder import Folder
    from ocirun.container.store import Store

UNKNOWN = "unknown"
SHOWN = ("type", "name", "host", "bridge", "parent", "addresses", "gateways", "ports")


def list_networks(store: Store) -> tuple[list[dict[str, Any]], list[str]]:
    """Return what each container holds, and an error message for each unreadable record.

    Containers that hold nothing, or are removed meanwhile, are left out.
    """
    found, broken = [], []
    for container_id in store.ids():
        try:
            entry = _entry_of(store, container_id)
        except ContainerNotFound:
            continue
        except OcirunError as error:
            broken.append(f"container {container_id}: {error}")
            continue
        entry["networks"] = [
            {word: value for word in SHOWN if (value := network.get(word))}
            for network in entry["networks"]
        ]
        if entry["networks"]:
            found.append(entry)
    return found, broken


def inspect_networks(store: Store, container_id: str) -> dict[str, Any]:
    """Return the recorded networks of one container.

    `present`: whether the device's end on the host exists.

    Raises:
        ContainerNotFound: no container has this id. SetupError: its record is damaged.
    """
    entry = _entry_of(store, container_id)
    hosts = [network for network in entry["networks"] if network.get("host")]
    if any(network["type"] == "veth" for network in hosts):
        from ocirun.network.links import all_links
        from ocirun.network.netlink import Netlink

        with Netlink() as host:
            names = {link.name for link in all_links(host)}
        for network in hosts:
            network["present"] = network["host"] in names
    return entry


def _entry_of(store: Store, container_id: str) -> dict[str, Any]:
    with store.open(container_id) as folder:
        attachments = read_attachments(folder.fd, folder.path) or []
        networks = [attachment.body() for attachment in attachments]
        status, devices = _known_of(folder)
        return {"id": container_id, "status": status, "networks": [*networks, *devices]}


def _known_of(folder: Folder) -> tuple[str, list[dict[str, Any]]]:
    """Return the status, and the devices that were moved from the host."""
    try:
        record = Record.read(folder)
        if record is None:
            return UNKNOWN, []
        with record:
            status = status_of(record)
            devices = read_config(folder)["linux"].get("netDevices") or {}
    except (ContainerError, KeyError):
        return UNKNOWN, []
    if status == STOPPED:
        return status, []  # they ended with the namespace
    return status, [
        {"type": "netDevices", "name": device.get("name") or name, "host": name}
        for name, device in devices.items()
    ]
