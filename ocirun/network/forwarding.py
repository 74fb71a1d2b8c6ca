"""What containers with masquerading or ports share: sysctls, and a table for each bridge.

Forwarding is of the whole host. The value from before is recorded with each container that needs
it, and in the comment of each table, where other state roots find it; the last one of all puts it
back. A bridge with ports lets packets of 127.0.0.0/8 through (route_localnet), for the answers to
what the host sends from there.

Security: CVE-2020-8558: such a bridge would take packets to and from 127.0.0.1 from its containers,
too. So its table drops them, before the sysctl is set and until after it is put back.

Source: kernel Documentation/networking/ip-sysctl.rst; docs/network.md#masquerade.
"""

from __future__ import annotations

from ocirun.errors import doing
from ocirun.network.nftables import Table, tables
from ocirun.network.ports import redirections_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from ocirun.network.attachment import Attachment

FORWARDING: Final = {4: "ipv4/ip_forward", 6: "ipv6/conf/all/forwarding"}


def remember_sysctls(attachment: Attachment, held: list[Attachment]) -> None:
    """Record in `attachment` what its sysctls were before any of `held` or another root's were.

    Raises:
        SetupError: one cannot be read.
    """
    names = [FORWARDING[version] for version in sorted({a.version for a in attachment.addresses})]
    if any(each.here.version == 4 for each in redirections_of(attachment)):
        names.append(_localnet(attachment.bridge))
    others = list(tables().values())
    for name in names:
        known = [each.sysctls[name] for each in held if name in each.sysctls]
        known += [sysctls[name] for sysctls in others if name in sysctls]
        attachment.sysctls[name] = known[0] if known else _before(name)


def start_forwarding(attachment: Attachment, held: list[Attachment]) -> None:
    """Forward, masquerade and redirect for `attachment` and its neighbours among `held`.

    Raises:
        SetupError: the kernel refused.
    """
    table_of(attachment.bridge, attachment.owner, [*held, attachment]).write()
    for name in attachment.sysctls:
        # Order: after the table, which drops what must not come through.
        if _read(name) != "1":
            _write(name, "1")


def table_of(bridge: str, owner: str, held: list[Attachment]) -> Table:
    """Return the table of a bridge, with what those of `held` need that are on it."""
    table = Table(bridge, owner)
    users = [each for each in held if each.bridge == bridge and each.is_forwarded]
    masqueraded = {a.network for each in users if each.masquerade for a in each.addresses}
    table.masqueraded = sorted(masqueraded, key=str)
    subnets = {a.network for each in users if each.ports for a in each.addresses}
    table.subnets = sorted(subnets, key=str)
    for each in users:
        table.redirections += redirections_of(each)
        table.sysctls |= each.sysctls
    return table


def put_back_sysctls(attachment: Attachment, others: list[Attachment]) -> None:
    """Set the sysctls that nobody else needs to the values from before.

    Nobody: none of `others`, and no container of another state root.

    Raises:
        SetupError: the kernel refused.
    """
    needed = {name for other in others for name in other.sysctls}
    for table, sysctls in tables().items():
        if not table.endswith(f"-{attachment.owner}"):
            needed.update(sysctls)
    for name, value in attachment.sysctls.items():
        if name not in needed:
            put_back(name, value)


def put_back(name: str, value: str) -> bool:
    """Set one sysctl to the value from before; one of a bridge that is gone is gone.

    Returns:
        Whether it had another one.

    Raises:
        SetupError: the kernel refused.
    """
    if _read(name) in (value, None):
        return False
    _write(name, value)
    return True


def _localnet(bridge: str) -> str:
    return f"ipv4/conf/{bridge}/route_localnet"


def _before(name: str) -> str:
    """Return the value of a sysctl; a bridge that is not there yet will have the default."""
    found = _read(name)
    return found if found is not None else _read(_localnet("default")) or "0"


def _read(name: str) -> str | None:
    path = f"/proc/sys/net/{name}"
    with doing(f"reading {path}"):
        try:
            with open(path, encoding="ascii") as file:
                return file.read().strip()
        except FileNotFoundError:
            return None


def _write(name: str, value: str) -> None:
    path = f"/proc/sys/net/{name}"
    with doing(f"writing {value} to {path}"), open(path, "w", encoding="ascii") as file:
        file.write(value)
