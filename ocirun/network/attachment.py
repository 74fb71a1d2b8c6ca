"""The record of one device of a container, from the annotation org.ocirun.networks.

It is written before the device is created, so that `delete` finds everything even if `create` was
killed in between.
"""

from __future__ import annotations

import ipaddress

from ocirun.spec.ports import Port

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    Interface = ipaddress.IPv4Interface | ipaddress.IPv6Interface
    Address = ipaddress.IPv4Address | ipaddress.IPv6Address


CNI_MEMBERS: Final = frozenset(("config", "dirs", "paths", "ports"))


class Attachment:
    """The two ends of one network.

    `name` is the device's name in the container, `host` the name of its other end, "" without one.
    `bridge` is the bridge of a veth; `is_made`: we created it, with `bridge_addresses`.
    `parent` and `mode` are those of a macvlan; `path` is the network namespace that is joined, ""
    for a new one, whose devices end with it. `sysctls` are those changed for `masquerade` or
    `ports`, with their previous values. `container` is the container's id, `owner` the short form
    of its state root. `process` is, for a network made by a host program, the pid and start time of
    its keeper, once known; `cni` the input and the results of CNI plugins (cni.py).
    """

    __slots__ = (
        *("addresses", "bridge", "bridge_addresses", "gateways", "host", "is_made", "mode", "mtu"),
        *("container", "masquerade", "name", "owner", "parent", "path", "ports", "process"),
        *("cni", "sysctls", "type"),
    )

    def __init__(self) -> None:
        self.type = ""
        self.container = ""
        self.owner = ""
        self.name = ""
        self.host = ""
        self.bridge = ""
        self.is_made = False
        self.bridge_addresses: list[Interface] = []
        self.parent = ""
        self.mode = ""
        self.mtu = 0
        self.masquerade = False
        self.ports: list[Port] = []
        self.sysctls: dict[str, str] = {}
        self.path = ""
        self.cni: dict[str, Any] = {}
        self.process: dict[str, int] = {}
        self.addresses: list[Interface] = []
        self.gateways: list[Address] = []

    def body(self) -> dict[str, Any]:
        """Return the attachment as JSON."""
        body = {
            name: [str(each) for each in value] if isinstance(value, list) else value
            for name in self.__slots__
            for value in (getattr(self, name),)
        }
        return body | {"ports": [port.body() for port in self.ports]}

    @property
    def is_forwarded(self) -> bool:
        """Whether the host forwards packets for it: it has ports or is masqueraded."""
        return self.masquerade or bool(self.ports)

    @classmethod
    def from_body(cls, body: dict[str, Any]) -> Attachment:
        """Return the attachment for a recorded `body`.

        Raises:
            ValueError, KeyError, TypeError: `body` is damaged.
        """
        attachment = cls()
        for name in cls.__slots__:
            value = body[name]
            if type(value) is not type(getattr(attachment, name)):
                raise TypeError(name)
            setattr(attachment, name, value)
        if attachment.type == "cni" and not CNI_MEMBERS.issubset(attachment.cni):
            raise KeyError("cni")
        for name in ("addresses", "bridge_addresses"):
            texts = getattr(attachment, name)
            setattr(attachment, name, [ipaddress.ip_interface(text) for text in texts])
        attachment.ports = [Port(port) for port in body["ports"]]
        attachment.gateways = [ipaddress.ip_address(text) for text in body["gateways"]]
        return attachment
