"""The user of the process on the host: uids, gids and their mappings.

Source: user_namespaces(7), runtime-spec config-linux.md#user-namespace-mappings; docs/audit.md.
"""

from __future__ import annotations

from ocirun.audit.finding import HIGH, LOW, MEDIUM, Rule

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from ocirun.audit.finding import Found
    from ocirun.audit.world import IdMap, World

EVERYBODY: Final = 1000  # regular users start here; lower ids belong to the system

ROOT: Final = Rule(
    "root-is-host-root",
    (MEDIUM, LOW),
    'Add {"type": "user"} to linux.namespaces with linux.uidMappings and gidMappings, or set '
    "process.user.uid.",
    "Files of the container have other owners on the host; see docs/hardened.md.",
)
MAPPED: Final = Rule(
    "mapping-includes-host-root",
    (HIGH,),
    "Map other ids than 0 of the host in linux.uidMappings and gidMappings.",
    "Files that belong to root of the host belong to nobody inside.",
)
GROUP: Final = Rule(
    "host-groups",
    (MEDIUM, LOW),
    "Remove the groups of the system from process.user.additionalGids.",
    "Files that only the group may use are refused.",
)
RULES: Final = (ROOT, MAPPED, GROUP)


def find(world: World) -> Found:
    """Return findings about the ids of the process on the host."""
    if not world.is_confined_root:
        if world.uid == 0:
            sentence = "Root inside is root of the host: every file in reach is root's."
            yield ROOT.found(MEDIUM, sentence, "/linux/namespaces")
        elif world.can_be_root:
            sentence = f"Uid {world.uid} can become root, and root inside is root of the host."
            yield ROOT.found(LOW, sentence, "/linux/namespaces")
    for name, mappings in (("uid", world.uid_map), ("gid", world.gid_map)):
        if world.is_confined_root and _has_root(mappings):
            sentence = f"The user namespace maps {name} 0 of the host: files of root are its own."
            yield MAPPED.found(HIGH, sentence, f"/linux/{name}Mappings")
    groups = sorted(gid for gid in world.gids if 0 < gid < EVERYBODY)
    if groups and not world.is_confined_root:
        names = ", ".join(map(str, groups))
        grade = MEDIUM if world.uid else LOW
        sentence = f"The process is in groups of the system: {names}."
        yield GROUP.found(grade, sentence, "/process/user/additionalGids")


def _has_root(mappings: list[IdMap]) -> bool:
    return any(outside <= 0 < outside + count for _, outside, count in mappings)
