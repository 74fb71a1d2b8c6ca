"""What the parent does about the network of an init that is in its namespaces and waits.

    procReady ─► devices of the host move in ─► procRun

Cold: only for containers that ask for it.

Source: ARCHITECTURE.md#the-story; docs/runc-compat/init.md#network-devices.
"""

from __future__ import annotations

import os

from ocirun.errors import doing
from ocirun.network.namespace import open_namespace_of, open_own_namespace
from ocirun.network.net_devices import NetDevices

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ocirun.spec.types import Config


class NetworkParent:
    """The network of one container, until its create is over; `close` it then.

    Holding the namespace open keeps the devices in it, should init die.
    """

    __slots__ = ("_config", "_devices", "_fds")

    def __init__(self, config: Config) -> None:
        self._config = config
        self._devices: NetDevices | None = None
        self._fds: list[int] = []

    def connect(self, pid: int, undo: Callable[[str, Callable[[], object]], object]) -> None:
        """Connect init `pid`; `undo` is given what takes each thing back, and its name.

        Raises:
            SetupError: a device is missing, cannot be moved, or its name is taken.
        """
        with doing("opening the container's network namespace"):
            self._fds.append(open_own_namespace())
            self._fds.append(open_namespace_of(pid))
            self._devices = NetDevices(self._config["linux"]["netDevices"], *self._fds)
        self._devices.move(undo)

    def close(self) -> None:
        """Close the namespaces and sockets. May be called twice."""
        if self._devices:
            self._devices.close()
        while self._fds:
            os.close(self._fds.pop())
