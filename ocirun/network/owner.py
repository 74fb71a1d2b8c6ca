"""The marks of devices and tables that we create: their state root and container.

A network device on the host has an alias, an nftables table a name; both contain a short form of
the state root. By it `ocirun net prune` finds leftovers without a record, and two state roots leave
each other's devices alone.

Source: ip-link(8), alias.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

DIGITS: Final = 12
MAX_ALIAS: Final = 255
PREFIX: Final = "ocirun-"


def owner_of(root: str) -> str:
    """Return the short form of a state root."""
    from hashlib import sha256

    return sha256(os.fsencode(os.path.realpath(root))).hexdigest()[:DIGITS]


def alias_of(owner: str, name: str) -> str:
    """Return the alias of a device created for the container or bridge `name`."""
    return f"{PREFIX}{owner} {name}"[:MAX_ALIAS]


def is_alias_of(owner: str, alias: str) -> bool:
    """Return whether a device with this `alias` was created for a container of `owner`."""
    return alias.startswith(f"{PREFIX}{owner} ")
