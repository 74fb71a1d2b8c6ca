"""/proc/PID/exe of init must not lead to a file of the host.

A container whose program is `#!/proc/self/exe` runs the runtime's executable again, and could
then open it for writing (CVE-2019-5736). The launcher therefore runs from a read-only overlay of
its own, or from a sealed memory file. Whoever creates or joins a container checks that here.
"""

from __future__ import annotations

import os
from fcntl import fcntl

from ocirun.errors import SetupError, doing
from ocirun.kernel.mount import fstatfs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

OVERLAYFS_SUPER_MAGIC: Final = 0x794C7630
ST_RDONLY: Final = 1
F_GET_SEALS: Final = 1034
F_SEAL_WRITE: Final = 8


def require_seal() -> None:
    """Refuse to go on when our executable can be written through /proc.

    Raises:
        SetupError: it is an ordinary file.
    """
    if not is_sealed():
        raise SetupError(
            "refusing to enter a container from an executable that the container could overwrite "
            "(CVE-2019-5736); start ocirun by its own command, which seals itself"
        )


def is_sealed() -> bool:
    """Return whether /proc/self/exe is a read-only overlay or a sealed memory file."""
    with doing("opening /proc/self/exe"):
        fd = os.open("/proc/self/exe", os.O_RDONLY | os.O_CLOEXEC)
    try:
        magic, flags = fstatfs(fd)
        if magic == OVERLAYFS_SUPER_MAGIC and flags & ST_RDONLY:
            return True
        try:
            return bool(fcntl(fd, F_GET_SEALS) & F_SEAL_WRITE)
        except OSError:  # EINVAL: not a memory file
            return False
    finally:
        os.close(fd)


def own_executable() -> tuple[int, int]:
    """Return (st_dev, st_ino) of our executable, by which a link to it is known again."""
    found = os.stat("/proc/self/exe")
    return found.st_dev, found.st_ino
