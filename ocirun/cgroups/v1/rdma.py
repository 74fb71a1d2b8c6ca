"""How many handles and objects of an RDMA device: the same file on v1 and v2.

Source: runtime-spec config-linux.md#rdma; kernel admin-guide/cgroup-v1/rdma.rst.
"""

from __future__ import annotations

from ocirun.cgroups.counters import objects
from ocirun.cgroups.files import set_lines

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from ocirun.cgroups.counters import Part
    from ocirun.spec.types import Resources

KEYS: Final = (("hca_handle", "hcaHandles"), ("hca_object", "hcaObjects"))


def wants(resources: Resources) -> bool:
    """Return whether any device is limited."""
    return bool(resources.get("rdma"))


def apply(directory: str, resources: Resources) -> None:
    """Write one line for each device.

    Raises:
        SetupError: the kernel refused: no such device.
    """
    lines: list[str] = []
    for device, limits in (resources.get("rdma") or {}).items():
        words = [f"{word}={value}" for word, key in KEYS if (value := limits.get(key)) is not None]
        lines.append(" ".join([device, *words]))
    set_lines(directory, "rdma.max", lines)


def stat(directory: str) -> Part:
    """Return what each device has in use and may have; nothing without such devices.

    Raises:
        SetupError: a file cannot be read.
    """
    return {
        "current": objects(directory, "rdma.current"),
        "limit": objects(directory, "rdma.max"),
    }
