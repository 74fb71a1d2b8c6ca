"""`ocirun init`: the stage as a program of its own, for callers that have threads.

It is started by `execute_stage` with its end of the channel as descriptor 3, and learns
everything from there; by hand it refuses.
"""

from __future__ import annotations

import _socket
import os
import sys

from ocirun.errors import UsageError
from ocirun.process.channel import Channel
from ocirun.process.clone import INIT_CHANNEL_FD
from ocirun.process.stage import run_stage
from ocirun.security.executable import require_seal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final, NoReturn

UCRED_BYTES: Final = 12  # pid, uid, gid
INT_BYTES: Final = 4


def main() -> NoReturn:
    """Run the stage, then init.

    Raises:
        UsageError: descriptor 3 is not a socket that our parent made.
        SetupError: we are not sealed.
    """
    if not _is_from_parent(INIT_CHANNEL_FD):
        raise UsageError("init is what ocirun starts by itself, it cannot be called by hand")
    require_seal()
    os.set_inheritable(INIT_CHANNEL_FD, False)
    run_stage(Channel(INIT_CHANNEL_FD, trusted=True))


def _is_from_parent(fd: int) -> bool:
    """Return whether `fd` is a socket whose other end was made by the process that started us."""
    try:
        probe = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, fd)
    except OSError:
        return False
    try:
        credentials = probe.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, UCRED_BYTES)
    except OSError:
        return False
    finally:
        probe.detach()
    return int.from_bytes(credentials[:INT_BYTES], sys.byteorder) == os.getppid()
