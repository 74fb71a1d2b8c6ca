"""Scarce things of the host, such as encrypted memory contexts: the same files on v1 and v2.

Nothing in config.json limits them but `unified`; they are only counted.

Source: kernel admin-guide/cgroup-v2.rst, Misc.
"""

from __future__ import annotations

from ocirun.cgroups.counters import numbers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirun.cgroups.counters import Part


def stat(directory: str) -> Part:
    """Return, for each kind, what is used and how often more was refused.

    Raises:
        SetupError: a file cannot be read.
    """
    refused = numbers(directory, "misc.events")
    return {
        kind: {"usage": used, "events": refused.get(f"{kind}.max", 0)}
        for kind, used in numbers(directory, "misc.current").items()
    }
