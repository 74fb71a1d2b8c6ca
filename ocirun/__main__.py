"""`python -m ocirun`: run the installed `ocirun` command, so that this way in is sealed too.

Security: this interpreter has read the caller's environment, and everybody who may write the host's
Python can change it. Nothing is done here but to find the launcher and become it.
"""

from __future__ import annotations

import os
import sys

from ocirun.errors import SetupError
from ocirun.process.command import find_command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn


def main() -> NoReturn:
    """Execute the installed launcher with this command's arguments; exit 1 where there is none."""
    try:
        os.execve(find_command(), ["ocirun", *sys.argv[1:]], os.environ)
    except SetupError as error:
        sys.exit(f"ocirun: {error}")


if __name__ == "__main__":
    main()
