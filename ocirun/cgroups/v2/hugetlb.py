"""How many huge pages: v2.

Source: runtime-spec config-linux.md#huge-page-limits; kernel admin-guide/cgroup-v2.rst, hugetlb.
"""

from __future__ import annotations

from ocirun.cgroups.counters import number, numbers, page_sizes
from ocirun.cgroups.files import has_file, set_value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirun.cgroups.counters import Part
    from ocirun.spec.types import Resources


def wants(resources: Resources) -> bool:
    """Return whether huge pages of any size are limited."""
    return bool(resources.get("hugepageLimits"))


def apply(directory: str, resources: Resources) -> None:
    """Write each size's limit in bytes: on pages in use, and on reserved ones where known.

    Raises:
        SetupError: the kernel refused, or has no pages of that size.
    """
    for limit in resources.get("hugepageLimits") or ():
        prefix = f"hugetlb.{limit['pageSize']}"
        set_value(directory, f"{prefix}.max", limit["limit"])
        # Kernel: reservations are counted from 5.7.
        if has_file(directory, f"{prefix}.rsvd.max"):
            set_value(directory, f"{prefix}.rsvd.max", limit["limit"])


def stat(directory: str) -> Part:
    """Return, for each page size, what is used (bytes) and how often more was refused.

    Kernel: the most that was ever used is not kept here.

    Raises:
        SetupError: a file cannot be read.
    """
    found: Part = {}
    for size in page_sizes(directory, ".max"):
        prefix = f"hugetlb.{size}"
        counted = ".rsvd.current" if has_file(directory, f"{prefix}.rsvd.current") else ".current"
        found[size] = {
            "usage": number(directory, prefix + counted),
            "max": 0,
            "failcnt": numbers(directory, f"{prefix}.events").get("max", 0),
        }
    return found
