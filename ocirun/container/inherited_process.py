"""What a joining process inherits from its container by default.

Source: docs/runc-compat/cli.md#exec; runtime-spec config.md#process.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from ocirun.spec.types import Config, Process

# What a process.json may leave out and then has from the container's own process.
INHERITED: Final = (
    "apparmorProfile",
    "capabilities",
    "execCPUAffinity",
    "ioPriority",
    "noNewPrivileges",
    "oomScoreAdj",
    "rlimits",
    "scheduler",
    "selinuxLabel",
)


def config_with(config: Config, process: Process) -> Config:
    """Replace the container's own process by `process`, completed with what it inherits.

    An empty label and an empty list of limits count as left out, as they do for runc, whose
    callers write both. The umask is always the container's.
    """
    own = config["process"]
    joining: Process = {**process}
    for name in INHERITED:
        if name in own and joining.get(name) in (None, "", []):
            joining[name] = own[name]
    joining["user"] = {**joining.get("user", {})}
    joining["user"].pop("umask", None)
    if "umask" in own.get("user", {}):
        joining["user"]["umask"] = own["user"]["umask"]
    return {**config, "process": joining}
