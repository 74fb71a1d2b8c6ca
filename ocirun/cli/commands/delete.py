"""`ocirun delete`: a container and everything made for it."""

from __future__ import annotations

from ocirun.container.delete import delete

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirun.cli.parse import Call


def run(call: Call) -> int:
    """Delete the container named by the call; with --force an unknown one is no failure."""
    store, force = call.store(), call.flag("force")
    if not call.flag("regex"):
        delete(store, call.words[0], force)
        return 0
    from ocirun.cli.matching import for_each  # cold: crun's --regex

    return for_each(call, store, lambda name: delete(store, name, force))
