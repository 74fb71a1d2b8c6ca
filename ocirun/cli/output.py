"""Write a verb's output to stdout, completely or with an error."""

from __future__ import annotations

import os
import sys

from ocirun.errors import doing


def write(text: str) -> None:
    """Write `text` to stdout.

    Raises:
        SetupError: stdout is closed, full, or nobody reads it any more.
    """
    try:
        data = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # a lone surrogate that never was a byte
        data = text.encode("utf-8", "backslashreplace")
    with doing("writing to standard output"):
        if sys.stdout is None:  # closed before we began; the launcher put /dev/null there
            raise OSError(9, os.strerror(9))
        while data:
            data = data[os.write(1, data) :]
