"""How many processes and threads: v2.

Source: runtime-spec config-linux.md#pids; kernel admin-guide/cgroup-v2.rst, pids.max.
"""

from __future__ import annotations

from ocirun.cgroups.directories import members_in
from ocirun.cgroups.files import set_value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirun.cgroups.counters import Part
    from ocirun.spec.types import Resources


def wants(resources: Resources) -> bool:
    """Return whether a limit is given; an absent one leaves the file alone."""
    pids = resources.get("pids")
    return pids is not None and pids.get("limit") is not None


def apply(directory: str, resources: Resources) -> None:
    """Write the limit: below 0 means unlimited; 0 becomes 1, the least that runs.

    Raises:
        SetupError: the kernel refused.
    """
    if pids := resources.get("pids"):
        limit = pids["limit"]
        set_value(directory, "pids.max", "max" if limit < 0 else limit or 1)


def stat(directory: str) -> Part:
    """Count the processes and threads; a limit of 0 means unlimited.

    Without the controller the processes of this very cgroup are counted, as runc does.

    Raises:
        SetupError: a file cannot be read.
    """
    from ocirun.cgroups.counters import UNLIMITED, number, text

    if directory and text(directory, "pids.current") is None:
        return {"current": len(members_in(directory)), "limit": 0}
    limit = number(directory, "pids.max")
    return {
        "current": number(directory, "pids.current"),
        "limit": 0 if limit == UNLIMITED else limit,
    }
