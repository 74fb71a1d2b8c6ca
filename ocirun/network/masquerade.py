"""What containers with `"masquerade": true` share: forwarding, and a table for each bridge.

Forwarding is of the whole host. The value from before is recorded with each container that needs
it, and put back with the last.

Source: kernel Documentation/networking/ip-sysctl.rst; docs/network.md#masquerade.
"""

from __future__ import annotations

from ocirun.errors import doing
from ocirun.network.nftables import write_masquerade

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from ocirun.network.attachment import Attachment

FORWARDING: Final = {4: "ipv4/ip_forward", 6: "ipv6/conf/all/forwarding"}


def remember_sysctls(attachment: Attachment, held: list[Attachment]) -> None:
    """Record in `attachment` what its sysctls were before any of `held` changed them.

    Raises:
        SetupError: one cannot be read.
    """
    for version in {address.version for address in attachment.addresses}:
        name = FORWARDING[version]
        known = [other.sysctls[name] for other in held if name in other.sysctls]
        attachment.sysctls[name] = known[0] if known else _read(name)


def start_masquerade(attachment: Attachment, held: list[Attachment]) -> None:
    """Forward, and masquerade the subnets of `attachment` and of its neighbours.

    Raises:
        SetupError: the kernel refused.
    """
    write_table(attachment.bridge, [*held, attachment])
    for name in attachment.sysctls:
        if _read(name) != "1":
            _write(name, "1")


def write_table(bridge: str, held: list[Attachment]) -> None:
    """Write the table of a bridge for those of `held` that are masqueraded there.

    Raises:
        SetupError: the kernel refused.
    """
    subnets = {
        address.network
        for each in held
        if each.bridge == bridge and each.masquerade
        for address in each.addresses
    }
    write_masquerade(bridge, sorted(subnets, key=str))


def put_back_sysctls(attachment: Attachment, others: list[Attachment]) -> None:
    """Set the sysctls that none of `others` needs to the values from before.

    Raises:
        SetupError: the kernel refused.
    """
    for name, value in attachment.sysctls.items():
        if not any(name in other.sysctls for other in others) and _read(name) != value:
            _write(name, value)


def _read(name: str) -> str:
    path = f"/proc/sys/net/{name}"
    with doing(f"reading {path}"), open(path, encoding="ascii") as file:
        return file.read().strip()


def _write(name: str, value: str) -> None:
    path = f"/proc/sys/net/{name}"
    with doing(f"writing {value} to {path}"), open(path, "w", encoding="ascii") as file:
        file.write(value)
