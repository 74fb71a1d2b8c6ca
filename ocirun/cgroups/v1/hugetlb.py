"""How many huge pages: v1.

Source: runtime-spec config-linux.md#huge-page-limits; kernel admin-guide/cgroup-v1/hugetlb.rst.
"""

from __future__ import annotations

from ocirun.cgroups.counters import number, page_sizes
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
        set_value(directory, f"{prefix}.limit_in_bytes", limit["limit"])
        # Kernel: reservations are counted from 5.7.
        if has_file(directory, f"{prefix}.rsvd.limit_in_bytes"):
            set_value(directory, f"{prefix}.rsvd.limit_in_bytes", limit["limit"])


def stat(directory: str) -> Part:
    """Return, for each page size, what is used and was used at most (bytes), and the refusals.

    Raises:
        SetupError: a file cannot be read.
    """
    found: Part = {}
    for size in page_sizes(directory, ".limit_in_bytes"):
        prefix = f"hugetlb.{size}"
        if has_file(directory, f"{prefix}.rsvd.usage_in_bytes"):
            prefix += ".rsvd"
        found[size] = {
            "usage": number(directory, f"{prefix}.usage_in_bytes"),
            "max": number(directory, f"{prefix}.max_usage_in_bytes"),
            "failcnt": number(directory, f"{prefix}.failcnt"),
        }
    return found
