"""Security modules: AppArmor and SELinux.

Source: runtime-spec config.md#linux-process; docs/audit.md.
"""

from __future__ import annotations

from ocirun.audit.finding import MEDIUM, NOTE, Rule

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from ocirun.audit.finding import Found
    from ocirun.audit.world import World

# SELinux types that confine nothing.
FREE_TYPES: Final = ("spc_t", "unconfined_t", "container_runtime_t", "kernel_t", "init_t")

ABSENT: Final = Rule(
    "lsm-absent",
    (NOTE,),
    "Set process.apparmorProfile or process.selinuxLabel, where the host has AppArmor or SELinux.",
    "What the profile or policy does not allow is refused.",
)
UNCONFINED: Final = Rule(
    "lsm-unconfined",
    (MEDIUM,),
    "Name a profile or a type that confines, such as container_t.",
    "What the profile or policy does not allow is refused.",
)
RULES: Final = (ABSENT, UNCONFINED)


def find(world: World) -> Found:
    """Return findings about the process's security module."""
    profile = world.apparmor.partition(" ")[0]
    if profile == "unconfined":
        sentence = "The AppArmor profile is unconfined."
        yield UNCONFINED.found(MEDIUM, sentence, "/process/apparmorProfile")
        return
    kinds = world.selinux.split(":")
    if len(kinds) > 2 and kinds[2] in FREE_TYPES:  # user:role:type
        sentence = f"The SELinux type {kinds[2]} is not confined."
        yield UNCONFINED.found(MEDIUM, sentence, "/process/selinuxLabel")
        return
    if not profile and not world.selinux:
        sentence = "No AppArmor profile and no SELinux label confines the process."
        yield ABSENT.found(NOTE, sentence, "/process")
