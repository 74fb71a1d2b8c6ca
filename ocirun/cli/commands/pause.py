"""`ocirun pause`: stop a container where it is."""

from __future__ import annotations

from ocirun.container.pause import pause

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirun.cli.call import Call


def run(call: Call) -> int:
    """Freeze the container named by the call."""
    pause(call.store(), call.arguments[0])
    return 0
