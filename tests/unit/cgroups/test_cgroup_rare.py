"""Limits that few kernels have, or none any more: cgroup v1 without a kernel.

Source: runtime-spec config-linux.md#memory, config-linux.md#block-io.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ocirun.cgroups import choose

if TYPE_CHECKING:
    from unit.cgroups.conftest import FakeKernel


def applied(kernel: FakeKernel, resources: dict[str, Any]) -> list[tuple[str, str]]:
    """Apply limits to a new cgroup that has every file; the writes, but for device rules."""
    cgroup = choose.new_cgroup("web", "id", "cgroupfs", table=kernel.table("v1"))
    cgroup.prepare({})
    for name in ("blkio.leaf_weight", "blkio.leaf_weight_device"):
        with open(f"{cgroup.paths['blkio']}/{name}", "w"):
            pass
    kernel.writes.clear()
    cgroup.apply(resources)
    names = [(path.rpartition("/")[2], text) for path, text in kernel.writes]
    return [(name, text) for name, text in names if not name.startswith("devices.")]


def test_leaf_weights_are_written(kernel: FakeKernel) -> None:
    device = {"major": 8, "minor": 16, "leafWeight": 300}
    writes = applied(kernel, {"blockIO": {"leafWeight": 500, "weightDevice": [device]}})
    assert writes == [("blkio.leaf_weight", "500"), ("blkio.leaf_weight_device", "8:16 300")]


def test_kernels_always_count_children(kernel: FakeKernel) -> None:
    """Since 5.11 memory.use_hierarchy takes nothing but 1, which it is."""
    writes = applied(kernel, {"memory": {"useHierarchy": False, "reservation": 4096}})
    assert writes == [("memory.soft_limit_in_bytes", "4096")]
