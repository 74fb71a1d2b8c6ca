"""`ocirun resume`: let a paused container go on."""

from __future__ import annotations

from ocirun.container.pause import resume

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirun.cli.call import Call


def run(call: Call) -> int:
    """Thaw the container named by the call."""
    resume(call.store(), call.arguments[0])
    return 0
