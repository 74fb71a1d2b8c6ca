"""On which CPUs a process of exec runs, before and after it is in the container's cgroup.

Loaded only for a process that has execCPUAffinity.

Spec: what is left out changes nothing, and the kernel decides.
Source: runtime-spec config.md#linux-process; sched_setaffinity(2).
"""

from __future__ import annotations

import os

from ocirun.errors import doing
from ocirun.spec.cpulist import numbers_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirun.process.context import InitContext


def set_initial(init: InitContext) -> None:
    """Run where execCPUAffinity.initial says."""
    _set(init, "initial")


def set_final(init: InitContext) -> None:
    """Run where execCPUAffinity.final says. Order: in the cgroup, whose cpuset counts."""
    _set(init, "final")


def _set(init: InitContext, moment: str) -> None:
    affinity: dict[str, str] = init.config["process"]["execCPUAffinity"]  # type: ignore[assignment]  # a TypedDict
    if cpus := affinity.get(moment):
        with doing(f"setting the {moment} CPU affinity {cpus}"):
            os.sched_setaffinity(0, numbers_of(cpus))
