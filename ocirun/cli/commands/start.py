"""`ocirun start`: open the gate of a created container."""

from __future__ import annotations

from ocirun.container.start import start

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirun.cli.parse import Call


def run(call: Call) -> int:
    """Start the container named by the call."""
    start(call.store(), call.words[0])
    return 0
