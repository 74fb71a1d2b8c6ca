"""What the guest's kernel and QEMU say, and what that tells of the end of a machine.

Source: docs/vm.md#failures.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from ocirun.engines.vm.machine import Machine

KEPT_BYTES: Final = 16 << 10
READ_BYTES: Final = 64 << 10
PANIC: Final = "Kernel panic - not syncing: "


class Console:
    """The last of what came from the socket `fd` (borrowed): however much a guest says."""

    __slots__ = ("fd", "text")

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.text = bytearray()
        os.set_blocking(fd, False)

    def read(self, _: int = 0) -> None:
        """Read what has come."""
        try:
            while data := os.read(self.fd, READ_BYTES):
                self.text += data
                del self.text[:-KEPT_BYTES]
        except (BlockingIOError, ConnectionResetError):
            return

    def why(self, machine: Machine) -> str:
        """Return what is known of the end of a machine, or of its silence; QEMU is reaped."""
        status = None
        if machine.has_ended():
            status = os.waitpid(machine.qemu, 0)[1]
            machine.pids.remove(machine.qemu)
        self.read()
        lines = [line.strip() for line in bytes(self.text).decode(errors="replace").split("\n")]
        lines = [line for line in lines if line]
        for line in lines:
            if PANIC in line:
                return f"the guest's kernel panicked: {line.partition(PANIC)[2]}"
        last = f": {lines[-1]}" if lines else ""
        if status is None:
            return f"its console says nothing more{last}"
        if os.WIFSIGNALED(status):
            return f"QEMU was killed by signal {os.WTERMSIG(status)}"
        machine.qmp.read_events()
        reason = machine.qmp.shutdown_reason()
        ended = f"the machine was shut down ({reason})" if reason else "QEMU ended"
        return f"{ended} with status {os.WEXITSTATUS(status)}{last}"
