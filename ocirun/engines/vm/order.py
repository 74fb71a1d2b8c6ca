"""What a monitor is told to run.

Source: docs/vm.md#processes.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from ocirun.engines.vm.qemu import Hardware
    from ocirun.rootfs.context import Entry


class Order:
    """What a monitor is to run. `fds` are the container's stdio, or its terminal's slave (owned).

    `gate` are the two descriptors of the gate (owned). `network` is the network namespace to join
    (owned), -1 for a new one, `network_path` its path. `go` (owned) is read, a byte or its end,
    before the machine is made. `boot_s`: after so many seconds without the guest at its gate the
    machine is given up.
    """

    __slots__ = (
        "binds",
        "boot_s",
        "fds",
        "gate",
        "go",
        "hardware",
        "network",
        "network_path",
        "program",
        "readonly",
        "rootfs",
        "setup",
    )

    def __init__(
        self,
        hardware: Hardware,
        rootfs: str,
        *,
        readonly: bool,
        binds: Sequence[Entry],
        setup: list[bytes],
        program: bytes,
        boot_s: int,
        network: tuple[int, str],
    ) -> None:
        self.boot_s = boot_s
        self.network, self.network_path = network
        self.go = -1
        self.hardware = hardware
        self.rootfs = rootfs
        self.readonly = readonly
        self.binds = binds
        self.setup = setup
        self.program = program
        self.fds: list[int] = []
        self.gate = (-1, -1)
