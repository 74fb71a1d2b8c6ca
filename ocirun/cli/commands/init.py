"""`ocirun init`: the executed init; it learns everything from its socket."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from ocirun.cli.call import Call


def run(call: Call) -> NoReturn:  # noqa: ARG001  # the socket tells it all
    """Become the init of a container; refuses to be called by hand."""
    from ocirun.process.stage_main import main

    main()
