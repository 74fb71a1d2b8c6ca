"""The steps for the annotations org.ocirun.landlock.*; only for containers that have one.

Source: docs/landlock.md.
"""

from __future__ import annotations

import os

from ocirun.errors import doing
from ocirun.rootfs.resolve import INSIDE, open_unmoved
from ocirun.security import landlock
from ocirun.spec import LANDLOCK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirun.process.context import InitContext


def make_ruleset(init: InitContext) -> None:
    """Create the ruleset: its rules apply to the files that the paths resolve to now.

    Order: after all mounts, and while every path can be reached.
    """
    prepared = init.request.landlock or {}
    ruleset_fd = landlock.begin_ruleset(prepared)
    if ruleset_fd is None:
        return
    init.landlock_fd = ruleset_fd
    for path, name, access in prepared["paths"]:
        with doing(f"allowing {path} by the annotation {LANDLOCK}{name}"):
            # Security: links in the container are resolved inside its root.
            fd = open_unmoved(init.root_fd, path, os.O_PATH | os.O_CLOEXEC, INSIDE)
            try:
                landlock.allow_path(ruleset_fd, fd, access)
            finally:
                os.close(fd)


def confine(init: InitContext) -> None:
    """Confine this process; later calls of init are confined too."""
    if init.landlock_fd >= 0:
        landlock.restrict_self(init.landlock_fd)
        init.landlock_fd = -1
