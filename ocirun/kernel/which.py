"""Programs of the host, found by name."""

from __future__ import annotations

import os


def find_in_path(name: str) -> str | None:
    """Find the program `name` in $PATH; None when it is not there.

    Security: folders relative to wherever we happen to be do not count: it runs as root.
    """
    for folder in os.environ.get("PATH", "").split(":"):
        program = f"{folder}/{name}"
        if folder.startswith("/") and os.path.isfile(program) and os.access(program, os.X_OK):
            return program
    return None
