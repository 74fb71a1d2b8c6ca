"""Missing limits, without which one container can exhaust the machine.

Source: runtime-spec config-linux.md#control-groups; kernel admin-guide/cgroup-v2.rst;
docs/audit.md.
"""

from __future__ import annotations

from ocirun.audit.finding import LOW, MEDIUM, Rule

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from ocirun.audit.finding import Found
    from ocirun.audit.world import World

PIDS: Final = Rule(
    "pids-unlimited",
    (MEDIUM,),
    "Set linux.resources.pids.limit.",
    "fork(2) fails with EAGAIN above it.",
)
MEMORY: Final = Rule(
    "memory-unlimited",
    (MEDIUM,),
    "Set linux.resources.memory.limit.",
    "The program is killed above it.",
)
OOM: Final = Rule(
    "oom-protected",
    (LOW,),
    "Set process.oomScoreAdj to 0 or more.",
    "When memory runs out, the program can be among those that are killed.",
)
RULES: Final = (PIDS, MEMORY, OOM)


def find(world: World) -> Found:
    """Return findings about missing limits."""
    if world.pids_limit is None:
        sentence = "The number of processes has no limit: a fork bomb stops the host."
        yield PIDS.found(MEDIUM, sentence, "/linux/resources/pids/limit")
    if world.memory_limit is None:
        sentence = "Memory has no limit: the host runs out of it."
        yield MEMORY.found(MEDIUM, sentence, "/linux/resources/memory/limit")
    if world.oom_score_adj < 0:
        sentence = f"The OOM score is adjusted by {world.oom_score_adj}: others are killed first."
        yield OOM.found(LOW, sentence, "/process/oomScoreAdj")
