"""How many handles and objects of an RDMA device: v2, the same file as on v1 and the same code.

Source: runtime-spec config-linux.md#rdma; kernel admin-guide/cgroup-v2.rst, rdma.max.
"""

from __future__ import annotations

from ocirun.cgroups.v1.rdma import apply, stat, wants

__all__ = ("apply", "stat", "wants")
