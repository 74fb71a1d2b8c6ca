"""Find files with the setuid or setgid bit in a container.

Source: execve(2), mount(2), MS_NOSUID.
"""

from __future__ import annotations

import os
import stat
import time

from ocirun.kernel.mount import mount_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

BITS: Final = stat.S_ISUID | stat.S_ISGID
SECONDS: Final = 5.0  # time limit for one tree; an image has about ten thousand files


def setuid_files(root_fd: int) -> tuple[list[str], bool]:
    """Return the setuid and setgid programs below `root_fd`, and whether the search finished.

    `root_fd` is borrowed; only its mount is searched. Paths begin with "/".

    Security: processes in the container may exchange directories meanwhile. Every directory is
    opened relative to its parent, and no link is followed.
    """
    own = mount_id(root_fd)
    found: list[str] = []
    end = time.monotonic() + SECONDS
    for path, folders, files, folder_fd in os.fwalk(".", dir_fd=root_fd, onerror=None):
        if mount_id(folder_fd) != own:
            folders.clear()
            continue
        if time.monotonic() > end:
            return sorted(found), False
        for name in files:
            try:
                status = os.stat(name, dir_fd=folder_fd, follow_symlinks=False)
            except OSError:
                continue
            program = stat.S_ISREG(status.st_mode) and status.st_mode & 0o111
            if program and status.st_mode & BITS:
                found.append(f"{path[1:]}/{name}")
    return sorted(found), True
