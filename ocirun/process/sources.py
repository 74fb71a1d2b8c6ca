"""Sources of bind mounts that the parent must open, because init's user could not.

Root of a user namespace is an ordinary user to the host's files: a folder of mode 0700 on the way
to the source would stop it, while the mount itself is the bundle author's wish.

Source: contract §4.2 (bind); open_tree(2).
"""

from __future__ import annotations

import os

from ocirun.errors import doing
from ocirun.kernel.mount import AT_FDCWD, open_tree
from ocirun.rootfs.mounts import bind_source

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
    fds: dict[int, int] = {}
    for index, mount in enumerate(config.get("mounts") or []):
        source = bind_source(mount, request.bundle)
        if source is not None:
            path, flags = source
            with doing(f'opening "{path}" to mount it on "{mount["destination"]}"'):
                fds[index] = open_tree(AT_FDCWD, path, flags)
    return fds
