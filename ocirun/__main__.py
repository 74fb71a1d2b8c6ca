"""`python -m ocirun`: run the installed `ocirun` command, so that this way in is sealed too.

Security: this interpreter read the caller's environment and can be written to by whoever may write
the host's Python. Nothing is done here but to find the launcher and become it.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import NoReturn


def candidates() -> Iterator[str]:
    """Give the paths at which the `ocirun` command may be: as recorded, then as is usual."""
    import sysconfig  # cold: a person typed `python -m ocirun`
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


def main() -> NoReturn:
    """Execute the installed launcher with this command's arguments; exit 1 where there is none."""
    looked_at = list(candidates())
    for path in looked_at:
        if os.access(path, os.X_OK):
            os.execve(path, ["ocirun", *sys.argv[1:]], os.environ)
    sys.exit(f"ocirun: the ocirun command is not installed: looked for {', '.join(looked_at)}")


if __name__ == "__main__":
    main()
