"""A failed call becomes the right OSError, and remembers the call as strace would print it."""

from __future__ import annotations

import os


def oserror(errno: int, call: str, path: str | bytes | None = None) -> OSError:
    """Build the OSError of `errno`; Python picks its subclass, the note keeps `call`.

    A subclass of OSError would lose that choice, which is why this is a function.
    """
    error = OSError(errno, os.strerror(errno), path)
    error.add_note(call)
    return error
