"""`ocirun net prune`: remove what a power failure or a lost record has left on the host.

    networks of stopped containers        released, as delete would
    network devices and bridges           with our alias, and without a record
    tables of nftables                    of this state root, and unused
    sysctls that such a table has set     restored, unless another container needs them

Objects without the mark of this state root are never changed.

Source: docs/network.md#looking-and-cleaning-up.
"""

from __future__ import annotations

import os

from ocirun.container.networks import FILE, Ledger, detach_networks
from ocirun.container.record import Record
from ocirun.container.status import STOPPED, status_of
from ocirun.errors import ContainerError, DamagedRecord, SetupError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ocirun.container.folder import Folder
    from ocirun.container.store import Store
    from ocirun.network.attachment import Attachment


def prune(store: Store) -> Iterator[str]:
    """Remove leftovers; yield a message for each.

    Raises:
        SetupError: a record is damaged, or the kernel refused.
    """
    for container_id in store.ids():
        try:
            with store.open(container_id) as folder:
                if FILE in os.listdir(folder.fd) and folder.lock() and _release(folder):
                    yield f"removed the networks of container {container_id}"
        except ContainerError:
            continue  # removed meanwhile, or not a container
    if os.geteuid() != 0 or not os.path.isdir(store.root):
        return
    with Ledger(store.root) as ledger:
        held, faults = ledger.others("")
        if faults:
            # What that container holds is unknown, so no object is known to be a leftover.
            raise SetupError(faults[0])
        yield from _prune_host(store.root, held)


def _release(folder: Folder) -> bool:
    """Remove the networks of a container if it has stopped; return whether it had.

    Closes `folder` if it has a record.
    """
    try:
        record = Record.read(folder)
    except DamagedRecord:
        return False  # the status is unknown
    if record is None:
        detach_networks(folder)
        return True
    with record:
        if status_of(record) != STOPPED:
            return False
        detach_networks(folder)
    return True


def _prune_host(root: str, held: list[Attachment]) -> Iterator[str]:
    from ocirun.errors import doing
    from ocirun.network.forwarding import put_back
    from ocirun.network.links import all_links, delete_link
    from ocirun.network.netlink import Netlink
    from ocirun.network.nftables import Claim, remove_table, table_name, tables
    from ocirun.network.owner import is_alias_of, owner_of

    owner = owner_of(root)
    used = {each.host for each in held} | {each.bridge for each in held if each.is_made}
    with Netlink() as host:
        for link in all_links(host):
            if is_alias_of(owner, link.alias) and link.name not in used:
                with doing(f"removing network device {link.name}"):
                    delete_link(host, link.index)
                yield f"removed the {link.kind} device {link.name}"
    found = tables()
    needed = {table_name(each.bridge, owner) for each in held if each.is_forwarded}
    if not any(name.endswith(f"-{owner}") and name not in needed for name in found):
        return
    with Claim():
        found = tables()
        left = [name for name in found if name.endswith(f"-{owner}") and name not in needed]
        kept = {name for each in held for name in each.sysctls}
        kept |= {name for table in found.keys() - set(left) for name in found[table]}
        for table in left:
            for name, value in found[table].items():
                if name not in kept and put_back(name, value):
                    yield f"set net/{name} back to {value}"
            remove_table(table)
            yield f"removed the nftables table {table}"
