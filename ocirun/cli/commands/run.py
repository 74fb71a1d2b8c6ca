"""`ocirun run`: create and start, and stay until it ends unless detached."""

from __future__ import annotations

from ocirun.cli.commands.create import about_bundles, creation
from ocirun.container.run import run as run_container
from ocirun.errors import warn
from ocirun.spec.load import SpecMissing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirun.cli.call import Call


def run(call: Call) -> int:
    """Run the container named by the call; return its exit status, 128+n when a signal ended it."""
    try:
        status, failures = run_container(
            call.store(),
            call.arguments[0],
            creation(call),
            detach=call.flag("detach"),
            keep=call.flag("keep"),
            subreaper=not call.flag("no-subreaper"),
        )
    except SpecMissing as error:
        raise about_bundles(call, error) from error
    for failure in failures:
        warn(str(failure))
    return status
