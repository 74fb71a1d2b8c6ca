"""The priority of the container's network packets on each interface: v1 only.

Source: runtime-spec config-linux.md#network; kernel admin-guide/cgroup-v1/net_prio.rst.
"""

from __future__ import annotations

from ocirun.cgroups.files import set_lines

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirun.spec.types import Resources


def wants(resources: Resources) -> bool:
    """Return whether any interface has a priority."""
    return bool((resources.get("network") or {}).get("priorities"))


def apply(directory: str, resources: Resources) -> None:
    """Write one line for each interface.

    Raises:
        SetupError: the kernel refused: no such interface.
    """
    priorities = (resources.get("network") or {}).get("priorities") or ()
    lines = [f"{entry['name']} {entry['priority']}" for entry in priorities]
    set_lines(directory, "net_prio.ifpriomap", lines)
