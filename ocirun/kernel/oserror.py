"""The OSError of a failed call, with the call as strace would print it."""

from __future__ import annotations

import os


def oserror(errno: int, call: str, path: str | bytes | None = None) -> OSError:
    """Return the OSError of `errno`, with `call` as a note.

    A function, because Python chooses the subclass of OSError by errno.
    """
    error = OSError(errno, os.strerror(errno), path)
    error.add_note(call)
    return error
