"""Sources of bind mounts that the parent must open, because init's user could not.

Root of a user namespace is an ordinary user to the host's files: a folder of mode 0700 on the way
to the source would stop it, while the mount itself is the bundle author's wish. Neither could it
map the owners of an id-mapped mount.

Source: contract §4.2 (bind); open_tree(2).
"""

from __future__ import annotations

import os

from ocirun.rootfs.mounts import load_for, open_source

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirun.process.request import Request
    from ocirun.spec.shapes import Config


def open_bind_sources(config: Config, request: Request) -> dict[int, int]:
    """Open a detached copy of each bind mount's source, where init runs in a user namespace.

    Returns:
        Index in `mounts` → descriptor, which the caller closes. Empty where we lack the right to
        make copies ourselves, and init has to try.
    """
    if not request.namespaces.has("user") or os.geteuid() != 0:
        return {}
    mounts = config.get("mounts") or []
    load_for(mounts)
    fds: dict[int, int] = {}
    try:
        for index, mount in enumerate(mounts):
            fd = open_source(mount, index, request.bundle, config.get("linux", {}))
            if fd is not None:
                fds[index] = fd
    except BaseException:
        for fd in fds.values():
            os.close(fd)
        raise
    return fds
