"""What marks devices and tables as ours: who made them, for which container.

A network device that we make on the host has an alias, a table of nftables a name, and both have a
short form of the state root. So `ocirun net prune` finds what nobody records any more, and two
state roots keep off what is the other's.

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
    """Return the alias of a device that is made for the container or bridge `name`."""
    return f"{PREFIX}{owner} {name}"[:MAX_ALIAS]


def is_alias_of(owner: str, alias: str) -> bool:
    """Return whether a device with this `alias` was made for a container of `owner`."""
    return alias.startswith(f"{PREFIX}{owner} ")
