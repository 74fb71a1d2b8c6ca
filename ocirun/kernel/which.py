"""Find programs of the host in $PATH."""

from __future__ import annotations

import os


def find_in_path(name: str) -> str | None:
    """Return the path of the program `name` in $PATH; None if it is not there.

    Security: `.`, empty and other relative entries are skipped. They mean the directory that the
    caller is in, and what lies there would run with the runtime's rights.
    """
    for folder in os.environ.get("PATH", "").split(":"):
        program = f"{folder}/{name}"
        if folder.startswith("/") and os.path.isfile(program) and os.access(program, os.X_OK):
            return program
    return None
