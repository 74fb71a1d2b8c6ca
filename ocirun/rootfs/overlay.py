"""A root whose writes are not the image's: an overlay, with its upper layer in a tmpfs.

    the rootfs, bound on itself     the lower layer
      └─ a tmpfs, on top of it        upper/ and work/
           └─ the overlay, on top       the container's root

All of it is in the container's mount namespace and nowhere else, so it is gone with the container,
whoever ends that. What is written counts as the container's memory.

Source: kernel Documentation/filesystems/overlayfs.rst; docs/library.md#an-overlay.
"""

from __future__ import annotations

import os
import stat

from ocirun.errors import doing
from ocirun.kernel.mount import MOUNT_ATTR_NODEV, MOUNT_ATTR_NOSUID, move_mount
from ocirun.rootfs.filesystems import label_option, make_filesystem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

LAYERS: Final = ("upper", "work")


def cover(root_fd: int, size: str, label: str, *, userns: bool) -> int:
    """Mount the overlay over the root that `root_fd` (taken over) is the mount of.

    `size` limits what is written, as of tmpfs ("" for its default); `label` is linux.mountLabel.
    Returns an O_PATH descriptor of the new root, which the caller closes.

    Raises:
        OSError: the kernel refused. In a user namespace a tmpfs can be one from Linux 6.6 on.
    """
    labels = [label_option(label)] if label else []
    tmpfs_fd = -1
    try:
        data = ["mode=700", *([f"size={size}"] if size else []), *labels]
        with doing("making a tmpfs for the overlay's upper layer"):
            tmpfs_fd = make_filesystem(
                "tmpfs", "tmpfs", MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV, 0, data
            )
            # Kernel: the layers of an overlay have to be mounted where it is made.
            move_mount(tmpfs_fd, root_fd)
            found = os.fstat(root_fd)
            for name in LAYERS:
                os.mkdir(name, dir_fd=tmpfs_fd)
            # Kernel: the merged directory has the owner and the mode of the upper one.
            os.chown("upper", found.st_uid, found.st_gid, dir_fd=tmpfs_fd)
            os.chmod("upper", stat.S_IMODE(found.st_mode), dir_fd=tmpfs_fd)
        with doing("mounting the overlay over the root"):
            upper, work = (f"/proc/self/fd/{tmpfs_fd}/{name}" for name in LAYERS)
            layers = [f"lowerdir=/proc/self/fd/{root_fd}", f"upperdir={upper}", f"workdir={work}"]
            # Kernel: trusted attributes are for the host's root.
            data = [*layers, *(["userxattr"] if userns else []), *labels]
            overlay_fd = make_filesystem("overlay", "overlay", 0, 0, data)
            try:
                move_mount(overlay_fd, tmpfs_fd)
            except BaseException:
                os.close(overlay_fd)
                raise
        return overlay_fd
    finally:
        os.close(root_fd)
        if tmpfs_fd >= 0:
            os.close(tmpfs_fd)
