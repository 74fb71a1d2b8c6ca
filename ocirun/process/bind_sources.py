"""Sources of bind mounts that the parent must open, because init could not.

Root of a user namespace is an ordinary user to the host's files: a folder of mode 0700 on the way
to the source would stop it, while the mount itself is the bundle author's wish. And only who has
rights over the source's file system may map the ids of a mount of it (idmapped_mounts.py).

Source: docs/runc-compat/mounts.md#bind-mounts, docs/runc-compat/mounts.md#id-mapped-mounts;
open_tree(2).
"""

from __future__ import annotations

import os

from ocirun.rootfs.mounts import load_for, open_source

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirun.process.request import Request
    from ocirun.spec.types import Config, Mount


def open_bind_sources(config: Config, request: Request) -> dict[int, int]:
    """Open a detached copy of each bind mount's source that init cannot open itself.

    Returns:
        Index in `mounts` → descriptor, which the caller closes.

    Raises:
        SetupError: a source does not open, or its ids cannot be mapped. UnsupportedError: an
            id-mapped mount of what cannot be one.
    """
    mounts = config.get("mounts") or []
    load_for(mounts)
    all_of_them = _opens_all(request)
    fds: dict[int, int] = {}
    try:
        for index, mount in enumerate(mounts):
            if all_of_them and not is_idmapped(mount):
                fd = open_source(mount, index, request.bundle)
                if fd is not None:
                    fds[index] = fd
        if any(map(is_idmapped, mounts)):
            from ocirun.process.idmapped_mounts import open_idmapped_sources  # cold

            open_idmapped_sources(config, request, fds)
    except BaseException:
        for fd in fds.values():
            os.close(fd)
        raise
    return fds


def _opens_all(request: Request) -> bool:
    """Tell whether every source is for us to open.

    Without root's rights we could not more than init. What lies in a mount namespace that init
    joins can only be copied in there.
    """
    namespaces = request.namespaces
    return namespaces.has("user") and "mount" not in namespaces.paths and os.geteuid() == 0


def is_idmapped(mount: Mount) -> bool:
    """Tell whether the ids of this mount are to be mapped: it says how, or only that."""
    if mount.get("uidMappings") or mount.get("gidMappings"):
        return True
    options = mount.get("options") or ()
    return "idmap" in options or "ridmap" in options
