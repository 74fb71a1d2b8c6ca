"""Map the ids of a mount. Source: mount_setattr(2), "ID-mapped mounts"."""

from __future__ import annotations

from errno import EINVAL, EPERM

from ocirun.errors import doing
from ocirun.kernel.mount import AT_RECURSIVE, MOUNT_ATTR_IDMAP, mount_setattr
from ocirun.spec.mount_options import RIDMAP

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirun.rootfs.context import Entry


def map_ids(entry: Entry, tree_fd: int, userns_fd: int) -> None:
    """Map the ids of the detached mount `tree_fd` as the user namespace `userns_fd` does.

    Raises:
        SetupError: the kernel cannot map the ids of its file system.
    """
    recursive = entry.options.extra & RIDMAP != 0
    flags = AT_RECURSIVE if recursive else 0
    with doing(f'mapping the ids of "{entry.source}" for "{entry.destination}"'):
        try:
            mount_setattr(tree_fd, "", flags, MOUNT_ATTR_IDMAP, userns_fd=userns_fd)
        except OSError as error:
            if error.errno in (EINVAL, EPERM):
                which = "it or a mount below it" if recursive else "it"
                hint = f"is {which} id-mapped already, or of a file system that cannot be?"
                error.strerror = f"{error.strerror} ({hint})"
            raise
