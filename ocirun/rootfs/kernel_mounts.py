"""The procfs and sysfs mounts of a container, held by descriptor until their paths are masked.

Security: a process that shares the root's directories may exchange their names while the container
is created. Looked up again by name, /proc may then be another directory, and the procfs stays
without masks. Paths on or below one of these mounts are therefore resolved from the mount itself.

Source: runtime-spec config-linux.md#masked-paths; openat2(2).
"""

from __future__ import annotations

import os

from ocirun.kernel.mount import PROC_SUPER_MAGIC, SYSFS_MAGIC
from ocirun.rootfs.mountpoints import below
from ocirun.rootfs.resolve import is_same_place

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

KERNEL_FILESYSTEMS: Final = (PROC_SUPER_MAGIC, SYSFS_MAGIC)


class KernelMounts:
    """Destination → descriptor of the root of the procfs or sysfs that was mounted there.

    The descriptors are ours until `close`.
    """

    __slots__ = ("_fds",)

    def __init__(self) -> None:
        self._fds: dict[str, int] = {}

    def attached(self, mount_fd: int, magic: int, destination: str, target_fd: int) -> bool:
        """Note that `mount_fd`, a file system of type `magic`, now covers `target_fd`.

        `destination` is clean. Mounts at or below it are covered, and forgotten. Returns whether
        the new one is held, and its descriptor with it; else it stays the caller's.
        """
        for place, fd in list(self._fds.items()):
            if below(destination, place) or is_same_place(fd, target_fd):
                os.close(self._fds.pop(place))
        if magic not in KERNEL_FILESYSTEMS:
            return False
        self._fds[destination] = mount_fd
        return True

    def start_of(self, root_fd: int, path: str, *, above: bool = False) -> tuple[int, str]:
        """Return where to look for `path` of the container from, and what is left of it.

        That is the held mount closest to it, and "." for the mount's root itself; else the root's
        descriptor and all of the path. With `above`, a mount at the path itself does not count:
        that is where something is to be mounted. The descriptor is borrowed.
        """
        best = ""
        for place in self._fds:
            # Speed: most paths are below none of them.
            if (
                path.startswith(place)
                and len(place) > len(best)
                and below(place, path)
                and not (above and path == place)
            ):
                best = place
        if not best:
            return root_fd, path
        return self._fds[best], below(best, path)[1:] or "."

    def close(self) -> None:
        """Close all descriptors."""
        while self._fds:
            os.close(self._fds.popitem()[1])
