"""State that containers with masquerading or ports share: sysctls, and a table for each bridge.

Forwarding is a setting of the whole host. Its previous value is recorded with each container that
needs it, and in the comment of each table, where other state roots find it; the last container
restores it. A bridge with ports routes packets of 127.0.0.0/8 (route_localnet), for the replies to
what the host sends from there.

Security: CVE-2020-8558: such a bridge would also route packets to and from 127.0.0.1 that its
containers send. Its table drops them, from before the sysctl is set until after it is restored.

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
    """Record in `attachment` the values of its sysctls before any container changed them.

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
    """Set up forwarding, masquerading and ports for `attachment` and those `held` on its bridge.

    Raises:
        SetupError: the kernel refused.
    """
    table_of(attachment.bridge, attachment.owner, [*held, attachment]).write()
    for name in attachment.sysctls:
        # Order: after the table, which drops packets that must not pass.
        if _read(name) != "1":
            _write(name, "1")


def table_of(bridge: str, owner: str, held: list[Attachment]) -> Table:
    """Return the table of a bridge, with the rules for all attachments in `held` on it."""
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
    """Restore the sysctls that neither `others` nor another state root needs.

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
    """Restore one sysctl to `value`; does nothing if its bridge is gone.

    Returns:
        Whether the value differed.

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
    """Return the value of a sysctl; for a bridge that does not exist yet, the default."""
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
