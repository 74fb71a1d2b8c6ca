"""Bring `lo` up in a new network namespace.

Two ioctls; a netlink library would cost more than the whole container (performance.md).

Source: netdevice(7).
"""

from __future__ import annotations

import _socket
import sys
from fcntl import ioctl

from ocirun.errors import doing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

SIOCGIFFLAGS: Final = 0x8913
SIOCSIFFLAGS: Final = 0x8914
IFF_UP: Final = 1
IFNAMSIZ: Final = 16
IFREQ_SIZE: Final = 40


def bring_up_loopback() -> None:
    """Set IFF_UP on `lo`; the kernel gives it 127.0.0.1 and ::1 by itself."""
    with doing("bringing up the loopback interface"):
        # AF_UNIX: any socket carries the ioctl, also where the kernel has no IPv4.
        probe = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC)
        try:
            request = b"lo".ljust(IFREQ_SIZE, b"\0")
            answer = ioctl(probe.fileno(), SIOCGIFFLAGS, request)
            flags = int.from_bytes(answer[IFNAMSIZ : IFNAMSIZ + 2], sys.byteorder) | IFF_UP
            request = answer[:IFNAMSIZ] + flags.to_bytes(2, sys.byteorder) + answer[IFNAMSIZ + 2 :]
            ioctl(probe.fileno(), SIOCSIFFLAGS, request)
        finally:
            probe.close()
