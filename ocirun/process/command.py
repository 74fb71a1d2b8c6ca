"""Find the `ocirun` command from Python.

`python -m ocirun` executes it, and the library runs it as its helper.
"""

from __future__ import annotations

import os
import sys

from ocirun.errors import SetupError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


# The path found before: importlib.metadata leaks a little memory on each lookup, which would add up
# in a long-running program.
_known: list[str] = []


def find_command() -> str:
    """Return the path of the installed `ocirun` command that belongs to this package.

    Raises:
        SetupError: it is neither at its recorded path nor in the usual places.
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
    import sysconfig  # cold: the command itself does not come here
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
