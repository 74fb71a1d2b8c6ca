"""The terminal between the caller and the console of LXC.

    caller ── our pty ── lxc-start ── the pty that LXC makes in the container ── program

Source: pty(7), ioctl_tty(2), lxc.container.conf(5), lxc.console.path.
"""

from __future__ import annotations

import os
from fcntl import ioctl
from struct import pack

from ocirun.errors import doing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from ocirun.spec.types import ConsoleSize

TIOCSWINSZ: Final = 0x5414


def make_terminal(size: ConsoleSize | None) -> tuple[int, int]:
    """Return the master and the slave of a new pseudo-terminal; the caller closes both.

    The container's own terminal edits lines, so this one does not. lxc-start makes it add a
    carriage return at the end of a line, which then has two.

    Raises:
        SetupError: the kernel refused.
    """
    import tty  # cold: a person sits there

    with doing("opening a pseudo-terminal"):
        master, slave = os.openpty()
        try:
            if size:
                height, width = (min(size[name], 0xFFFF) for name in ("height", "width"))
                ioctl(slave, TIOCSWINSZ, pack("HHHH", height, width, 0, 0))
            tty.setraw(slave)
        except BaseException:
            os.close(master)
            os.close(slave)
            raise
    return master, slave
