"""`ocirun features`: what this runtime can do, for programs."""

from __future__ import annotations

from ocirun.cli.output import write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirun.cli.call import Call


def run(call: Call) -> int:  # noqa: ARG001  # every verb has this shape
    """Print the features document, four blanks deep as runc does."""
    from ocirun.spec.features import features
    from ocirun.spec.jsontext import indented

    write(indented(features(), "    ") + "\n")
    return 0
