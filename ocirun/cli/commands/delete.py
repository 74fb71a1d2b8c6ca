"""`ocirun delete`: a container and everything made for it."""

from __future__ import annotations

from ocirun.container.delete import delete
from ocirun.errors import warn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirun.cli.call import Call
    from ocirun.container.store import Store


def run(call: Call) -> int:
    """Delete the container named by the call; with --force an unknown one is no failure."""
    store = call.store()
    if not call.flag("regex"):
        _delete(call, store, call.arguments[0])
        return 0
    from ocirun.cli.matching import for_each  # cold: crun's --regex

    return for_each(call, store, lambda name: _delete(call, store, name))


def _delete(call: Call, store: Store, name: str) -> None:
    failures = delete(store, name, call.flag("force"))
    for failure in failures:
        warn(str(failure))
