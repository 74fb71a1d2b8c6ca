"""Which CPUs and memory nodes: v2, where a new cgroup uses its parent's.

Source: runtime-spec config-linux.md#cpu; kernel admin-guide/cgroup-v2.rst, cpuset.cpus.
"""

from __future__ import annotations

from ocirun.cgroups.files import set_value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirun.spec.types import Resources


def wants(resources: Resources) -> bool:
    """Return whether CPUs or memory nodes are chosen."""
    cpu = resources.get("cpu") or {}
    return bool(cpu.get("cpus") or cpu.get("mems"))


def apply(directory: str, resources: Resources) -> None:
    """Write the lists (`0-3,7`) as they are.

    Raises:
        SetupError: the kernel refused.
    """
    cpu = resources.get("cpu") or {}
    if cpus := cpu.get("cpus"):
        set_value(directory, "cpuset.cpus", cpus)
    if mems := cpu.get("mems"):
        set_value(directory, "cpuset.mems", mems)
