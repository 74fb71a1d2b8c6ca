"""A terminal for the container: made inside, its master sent to the caller.

Source: runtime-spec config.md#process; pty(7), ioctl_tty(2);
docs/runc-compat/protocols.md#console-socket.
"""

from __future__ import annotations

import os
import stat
import sys
from errno import EXDEV
from fcntl import ioctl
from struct import pack

from ocirun.errors import SetupError, doing
from ocirun.kernel.mount import fstatfs
from ocirun.kernel.paths import RESOLVE_BENEATH, RESOLVE_NO_XDEV, openat2
from ocirun.rootfs.filesystems import attach_copy
from ocirun.rootfs.mountpoints import refuse_procfs
from ocirun.rootfs.resolve import make_file_in_root, open_in_root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from ocirun.spec.types import ConsoleSize

DEVPTS_SUPER_MAGIC: Final = 0x1CD1
TIOCSPTLCK: Final = 0x40045431
TIOCGPTN: Final = 0x80045430
TIOCGPTPEER: Final = 0x5441
TIOCSCTTY: Final = 0x540E
TIOCSWINSZ: Final = 0x5414


def open_pty(root_fd: int) -> tuple[int, int, str]:
    """Open a new pseudo-terminal of the container's own devpts.

    Security: CVE-2025-52565. The multiplexer is looked for in a devpts alone, where nobody but the
    kernel makes files, so that no device of the image is opened in its place. Its slave is opened
    through the master, never through a path that the image may have bent.

    Returns:
        Master, slave (both the caller's to close), and the slave's name inside, /dev/pts/N.
    """
    master = _open_multiplexer(root_fd)
    try:
        with doing("opening a pseudo-terminal"):
            ioctl(master, TIOCSPTLCK, pack("i", 0))
            number = int.from_bytes(ioctl(master, TIOCGPTN, pack("i", 0)), sys.byteorder)
            slave = ioctl(master, TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    except BaseException:
        os.close(master)
        raise
    return master, slave, f"/dev/pts/{number}"


def _open_multiplexer(root_fd: int) -> int:
    """Open the master of a new pseudo-terminal; the caller closes it."""
    with doing("opening /dev/pts/ptmx"):
        pts_fd = open_in_root(root_fd, "/dev/pts", os.O_PATH | os.O_DIRECTORY)
        try:
            if fstatfs(pts_fd)[0] == DEVPTS_SUPER_MAGIC:
                flags = os.O_RDWR | os.O_NOCTTY | os.O_NOFOLLOW
                return openat2(pts_fd, "ptmx", flags, resolve=RESOLVE_NO_XDEV | RESOLVE_BENEATH)
        except OSError as error:
            if error.errno != EXDEV:
                raise
        finally:
            os.close(pts_fd)
    raise SetupError("/dev/pts/ptmx of the container is not the multiplexer of a devpts")


def bind_console(root_fd: int, slave: int) -> None:
    """Mount the slave on /dev/console."""
    with doing("mounting the terminal on /dev/console"):
        target = make_file_in_root(root_fd, "/dev/console", nofollow=True)
        try:
            if stat.S_ISLNK(os.fstat(target).st_mode):
                raise SetupError("/dev/console of the container is a symbolic link")
            refuse_procfs(target, "/dev/console")
            attach_copy(slave, target)
        finally:
            os.close(target)


def take_as_stdio(slave: int, size: ConsoleSize | None) -> None:
    """Make the slave our controlling terminal and our fds 0 to 2. Needs a session of our own."""
    with doing("taking the terminal as the controlling one"):
        if size:
            # Kernel: both are 16 bits wide there.
            height, width = (min(size[name], 0xFFFF) for name in ("height", "width"))
            ioctl(slave, TIOCSWINSZ, pack("HHHH", height, width, 0, 0))
        ioctl(slave, TIOCSCTTY, 0)
        for fd in range(3):
            os.dup2(slave, fd, inheritable=True)
