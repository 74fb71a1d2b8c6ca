"""`ocirun start`: open the gate of a created container."""

from __future__ import annotations

import os

from ocirun.container.start import start

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirun.cli.call import Call


def run(call: Call) -> int:
    """Start the container named by the call; where a service manager waits, until it is ready."""
    start(call.store(), call.arguments[0], os.environ.get("NOTIFY_SOCKET"))
    return 0
