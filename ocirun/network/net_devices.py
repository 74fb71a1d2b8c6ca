"""linux.netDevices: move network devices of the host into the container's network namespace.

The kernel keeps a device's MTU, hardware address and alias but drops its addresses; we add the
permanent global ones again. Routes are lost. When the namespace ends the kernel returns physical
devices to the host and destroys the others; delete does nothing.

Source: runtime-spec config-linux.md#network-devices,
config-linux.md#namespace-lifecycle-and-container-termination; kernel net/core/dev.c,
__dev_change_net_namespace; docs/runc-compat/init.md#network-devices.
"""

from __future__ import annotations

import os

from ocirun.errors import SetupError, doing
from ocirun.network.links import (
    RT_SCOPE_UNIVERSE,
    address_text,
    find_link,
    give_address,
    permanent_addresses,
    set_link,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ocirun.network.links import Link
    from ocirun.network.sides import Sides
    from ocirun.spec.types import NetDevice


class NetDevices:
    """The devices of one container.

    `sides` (borrowed) must stay open as long as a device may have to be moved back.
    """

    __slots__ = ("_entries", "_host", "_sides", "_theirs")

    def __init__(self, entries: dict[str, NetDevice], sides: Sides) -> None:
        self._entries = entries
        self._sides = sides
        self._host = sides.host
        self._theirs = sides.container

    def move(self, undo: Callable[[str, Callable[[], object]], object]) -> None:
        """Move the devices; `undo` is called for each with its name and a function to move it back.

        Raises:
            SetupError: a device does not exist or cannot be moved, or its name is taken.
        """
        self._sides.require_two("unable to move network devices")
        from functools import partial

        for name, entry in self._entries.items():
            with doing(f"finding network device {name}"):
                link = find_link(self._host, name)
                if link is None:
                    raise SetupError(f"network device {name} does not exist")
                addresses = permanent_addresses(self._host, link.index)
            device = _Moved(link, addresses, entry.get("name") or link.name)
            undo(f"bringing network device {name} back", partial(self._bring_back, device))
            self._move(device)

    def _move(self, device: _Moved) -> None:
        link, words = device.link, f"moving network device {device.link.name} into the container"
        if not device.is_template and find_link(self._theirs, device.wanted):
            raise SetupError(f"{words}: there is a network device {device.wanted} in there already")
        with doing(f"{words} as {device.wanted}"):
            # Kernel: this also takes it down.
            set_link(
                self._host, link.index, IFNAME=device.arrival, NET_NS_FD=self._sides.container_fd
            )
            moved = find_link(self._theirs, device.arrival)
            if moved is None:
                raise SetupError(f"{words}: it has not arrived")
            device.index = moved.index  # unchanged unless the index was taken
            if device.is_template:
                set_link(self._theirs, device.index, IFNAME=device.wanted)
        for address in device.addresses:
            if address["scope"] == RT_SCOPE_UNIVERSE:
                with doing(f"adding {address_text(address)} to network device {device.wanted}"):
                    give_address(self._theirs, device.index, address)
        with doing(f"setting network device {device.wanted} up"):
            set_link(self._theirs, device.index, up=True)

    def _bring_back(self, device: _Moved) -> None:
        """Move a device back under its old name, with its old state except for routes."""
        old = device.link
        index = device.index or self._find_stray(device)
        if not index:
            return  # it never moved
        set_link(self._theirs, index, IFNAME=old.name, NET_NS_FD=self._sides.host_fd)
        back = find_link(self._host, old.name)
        if back is None:
            raise SetupError(f"network device {old.name} has not come back")
        if old.master:
            set_link(self._host, back.index, MASTER=old.master)
        for address in device.addresses:
            give_address(self._host, back.index, address)
        if old.is_up:
            set_link(self._host, back.index, up=True)

    def _find_stray(self, device: _Moved) -> int:
        """Return the index in the container of a device whose move has failed, 0 if it stayed.

        Kernel: the device moves first, under its old name if that is free there, and is renamed
        then; if the new name is taken by then, the device stays in the container.
        """
        old = device.link
        stayed = find_link(self._host, old.name)
        if stayed and stayed.index == old.index:
            return 0
        for name in (device.arrival, old.name):
            found = find_link(self._theirs, name)
            if found and found.hardware == old.hardware:
                return found.index
        return 0


class _Moved:
    """A device being moved: its old `link`, its permanent `addresses`, its `wanted` name.

    The kernel does not report the name that a template like eth%d became, so such a device moves
    under a unique name first. `index` is its index in the container, 0 before the move.
    """

    __slots__ = ("addresses", "arrival", "index", "is_template", "link", "wanted")

    def __init__(self, link: Link, addresses: list[Any], wanted: str) -> None:
        self.link = link
        self.addresses = addresses
        self.wanted = wanted
        self.is_template = "%" in wanted
        self.arrival = f"oci{os.urandom(6).hex()}" if self.is_template else wanted
        self.index = 0
