"""Sources of bind mounts, and device nodes, that the parent must open because init cannot.

To the host's files, root of a user namespace is an ordinary user: a directory of mode 0700 in the
path of the source would stop it, although the configuration asks for the mount. And an id-mapped
mount needs privileges over the source's file system (idmapped_mounts.py).

Source: docs/runc-compat/mounts.md#bind-mounts, docs/runc-compat/mounts.md#id-mapped-mounts;
open_tree(2).
"""

from __future__ import annotations

import os

from ocirun.rootfs.context import read_entries
from ocirun.rootfs.mountpoints import below
from ocirun.rootfs.source_trees import open_source

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirun.process.request import Request
    from ocirun.rootfs.context import Entry
    from ocirun.spec.types import Config


def open_bind_sources(config: Config, request: Request) -> dict[int, int]:
    """Open a detached copy of each bind mount's source that init cannot open itself.

    A source on a mount of an earlier entry does not exist yet: those are listed in
    `request.late_sources`, and init opens them.

    Returns:
        Index in `mounts` → descriptor, which the caller closes: of the copy, or for a late source
        of the user namespace whose maps it gets.

    Raises:
        SetupError: a source does not open, or its ids cannot be mapped. UnsupportedError: an
            id-mapped mount of what cannot be one.
    """
    all_of_them = _opens_all(request)
    fds: dict[int, int] = {}
    if not (all_of_them or _may_be_idmapped(config)):
        return fds
    entries = read_entries(config, request.bundle, request.rootfs)
    idmapped = any(entry.is_idmapped for entry in entries)
    request.late_sources = late_sources(entries)
    try:
        if all_of_them:
            for entry in entries:
                if not entry.is_idmapped and entry.index not in request.late_sources:
                    fd = open_source(entry, userns=True)
                    if fd is not None:
                        fds[entry.index] = fd
        if idmapped:
            from ocirun.process.idmapped_mounts import open_idmapped_sources  # cold

            open_idmapped_sources(entries, config, request, fds)
        if all_of_them:
            # Not the late ones: init opens them, and what stands for them is a user namespace.
            copies = [one for one in entries if one.index in fds.keys() - request.late_sources]
            if copies:
                from ocirun.rootfs.locked_flags import lock_flags  # cold

                lock_flags(copies, fds)
    except BaseException:
        for fd in fds.values():
            os.close(fd)
        raise
    return fds


def open_made_nodes(config: Config, request: Request) -> list[int]:
    """Return [descriptor] of the nodes that init can neither create nor find, or [].

    The caller closes it.

    Raises:
        SetupError: see make_missing_nodes.
    """
    if not request.namespaces.has("user"):
        return []
    from ocirun.process.made_nodes import make_missing_nodes  # cold: a user namespace

    nodes_fd = make_missing_nodes(config, request)
    return [] if nodes_fd < 0 else [nodes_fd]


def late_sources(entries: list[Entry]) -> list[int]:
    """Return the indices of bind mounts whose source lies on a mount of an earlier entry."""
    places: list[str] = []
    found = []
    for entry in entries:
        source = entry.source_in_root
        if source and any(below(place, source) for place in places):
            found.append(entry.index)
        places.append(entry.destination)
    return found


def _may_be_idmapped(config: Config) -> bool:
    """Return whether to read all mounts for it: does one have mappings or any option for them?"""
    return any(
        "uidMappings" in mount
        or "gidMappings" in mount
        or any("idmap" in option for option in mount.get("options") or ())
        for mount in config.get("mounts") or ()
    )


def _opens_all(request: Request) -> bool:
    """Return whether we must open every source.

    Without root's privileges we could do no more than init. Sources in a mount namespace that init
    joins can only be copied there.
    """
    namespaces = request.namespaces
    return namespaces.has("user") and "mount" not in namespaces.paths and os.geteuid() == 0
