"""How many processes and threads: v1.

Source: runtime-spec config-linux.md#pids; kernel admin-guide/cgroup-v1/pids.rst.
"""

from __future__ import annotations

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
    """Write the limit.

    Raises:
        SetupError: the kernel refused.
    """
    if pids := resources.get("pids"):
        set_value(directory, "pids.max", limit_text(pids["limit"]))


def limit_text(limit: int) -> str:
    """Return the limit as the kernel reads it: below 0 is unlimited; 0 becomes 1, the minimum."""
    return "max" if limit < 0 else str(limit or 1)


def stat(directory: str) -> Part:
    """Count the processes and threads; a limit of 0 means unlimited.

    Raises:
        SetupError: a file cannot be read.
    """
    from ocirun.cgroups.counters import UNLIMITED, number

    limit = number(directory, "pids.max")
    return {
        "current": number(directory, "pids.current"),
        "limit": 0 if limit == UNLIMITED else limit,
    }
