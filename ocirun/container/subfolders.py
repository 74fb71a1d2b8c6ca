"""Folders inside of a container's folder, and how they are removed: notify/ and criu-root/.

A container with the rights of root can fill notify/; criu-root/ is a mount of its root.
"""

from __future__ import annotations

import os

from ocirun.container.folder import OPEN_FOLDER


def remove_subfolder(dir_fd: int, name: str) -> None:
    """Remove the folder `name` in the folder that is open as `dir_fd` (borrowed).

    Order: what a killed restore has left is unmounted, and never emptied: it shows the root.

    Raises:
        OSError: as the calls say; EXDEV out of another mount.
    """
    from ocirun.criu.scratch import FOLDER, remove_scratch

    if name == FOLDER:
        remove_scratch(f"/proc/self/fd/{dir_fd}/{name}")
        return
    fd = os.open(name, OPEN_FOLDER, dir_fd=dir_fd)
    try:
        _empty(fd)
    finally:
        os.close(fd)
    os.rmdir(name, dir_fd=dir_fd)


def _empty(fd: int) -> None:
    """Remove everything in the open folder, by bringing up what is deeper.

    Security: it may be deeper than any recursion or path, and a mount that has come here from a
    container is somebody's data: nothing can be brought up out of it (EXDEV).
    """
    while names := os.listdir(fd):
        for name in names:
            try:
                os.unlink(name, dir_fd=fd)
            except IsADirectoryError:
                inner_fd = os.open(name, OPEN_FOLDER, dir_fd=fd)
                try:
                    for inner in os.listdir(inner_fd):
                        target = os.urandom(16).hex()
                        os.rename(inner, target, src_dir_fd=inner_fd, dst_dir_fd=fd)
                finally:
                    os.close(inner_fd)
                os.rmdir(name, dir_fd=fd)
