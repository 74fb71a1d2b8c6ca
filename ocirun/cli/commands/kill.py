"""`ocirun kill`: a signal for a container."""

from __future__ import annotations

from ocirun.container.kill import kill, signal_number
from ocirun.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirun.cli.call import Call


def run(call: Call) -> int:
    """Send the signal; TERM when none is named, or an empty one (a script's unset variable)."""
    try:
        signal = signal_number("".join(call.arguments[1:]) or "SIGTERM")
    except UsageError:
        if not call.flag("regex"):
            call.check_container()
        raise
    store, everyone = call.store(), call.flag("all")
    if not call.flag("regex"):
        kill(store, call.arguments[0], signal, everyone)
        return 0
    from ocirun.cli.matching import for_each  # cold: crun's --regex

    return for_each(call, store, lambda name: kill(store, name, signal, everyone))
