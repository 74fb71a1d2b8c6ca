"""Where the `ocirun` command is, for those who are Python already.

`python -m ocirun` becomes it, and the library executes it as the container's init.
"""

from __future__ import annotations

import os
import sys

from ocirun.errors import SetupError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


# Where it was found: a program that lives long should not read the package's files for each
# container, of which importlib.metadata keeps something every time.
_known: list[str] = []


def find_command() -> str:
    """Return the path of the installed `ocirun` command that belongs to this package.

    Raises:
        SetupError: it is not where it was recorded, nor where it usually is.
    """
    for path in _known:
        if os.access(path, os.X_OK):
            return path
    looked_at = list(_candidates())
    for path in looked_at:
        if os.access(path, os.X_OK):
            _known[:] = [path]
            return path
    raise SetupError(f"the ocirun command is not installed: looked for {', '.join(looked_at)}")


def _candidates() -> Iterator[str]:
    import sysconfig  # cold: not on the way of the command itself
    from importlib.metadata import PackageNotFoundError, distribution

    try:
        recorded = distribution("ocirun").files or []
    except PackageNotFoundError:
        recorded = []
    for file in recorded:
        if file.name == "ocirun" and file.parent.name == "bin":
            yield os.path.realpath(file.locate())
    yield os.path.join(sysconfig.get_path("scripts"), "ocirun")
    yield os.path.join(sys.prefix, "bin", "ocirun")
