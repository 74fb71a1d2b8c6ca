"""`ocirun state`: one container as JSON."""

from __future__ import annotations

from ocirun.cli.output import write
from ocirun.container.state import state_of
from ocirun.spec.jsontext import indented

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirun.cli.call import Call


def run(call: Call) -> int:
    """Print the container's state: two spaces, no newline at the end, as runc does."""
    write(indented(state_of(call.store(), call.arguments[0]), "  "))
    return 0
