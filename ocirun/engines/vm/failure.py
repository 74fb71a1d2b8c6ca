"""How the processes of ocirun that stand for a machine and its programs report what ended them.

Source: docs/vm.md#failures.
"""

from __future__ import annotations

from ocirun.errors import OcirunError, what_failed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

# Files of the container's folder, until it is deleted.
FAILURE: Final = "vm.error"
TRACEBACK: Final = "vm.traceback"


def sentence_of(error: Exception) -> str:
    """Return the message for `error`; an unexpected exception is reported as a bug."""
    if isinstance(error, OcirunError):
        return str(error)
    if isinstance(error, OSError):
        return what_failed(error)
    return f"internal error: {type(error).__name__}: {error}, please report it"


def traceback_of(error: Exception) -> str:
    """Return the traceback of a bug, "" for an expected error."""
    if isinstance(error, (OcirunError, OSError)):
        return ""
    import traceback  # cold: a bug

    return "".join(traceback.format_exception(error)).rstrip()
