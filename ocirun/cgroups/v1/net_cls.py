"""The mark on the container's network packets: v1 only.

Source: runtime-spec config-linux.md#network; kernel admin-guide/cgroup-v1/net_cls.rst.
"""

from __future__ import annotations

from ocirun.cgroups.files import set_value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirun.spec.types import Resources


def wants(resources: Resources) -> bool:
    """Return whether a class is given; 0 is "not set"."""
    return bool((resources.get("network") or {}).get("classID"))


def apply(directory: str, resources: Resources) -> None:
    """Write the class.

    Raises:
        SetupError: the kernel refused.
    """
    if class_id := (resources.get("network") or {}).get("classID"):
        set_value(directory, "net_cls.classid", class_id)
