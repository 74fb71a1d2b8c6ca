"""`ocirun init`: the helper of a program that uses the library; its socket has its orders."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from ocirun.cli.call import Call


def run(call: Call) -> NoReturn:  # noqa: ARG001  # the socket has the arguments
    """Clone the inits of a program's containers; refuses to be called by hand."""
    from ocirun.process.helper_main import main

    main()
