"""Namespaces that the container shares, and what that exposes.

Source: namespaces(7), runtime-spec config-linux.md#namespaces; docs/audit.md.
"""

from __future__ import annotations

from ocirun.audit.finding import CRITICAL, HIGH, LOW, MEDIUM, NOTE, Rule
from ocirun.audit.world import HOST, KINDS, OWN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from ocirun.audit.finding import Found
    from ocirun.audit.world import World

POINTER: Final = "/linux/namespaces"
# Kind: grade if shared, what that exposes, what a new namespace breaks.
SHARED: Final = {
    "mount": (CRITICAL, "it mounts on the host, and only chroot(2) hides the host's files",
              "Mounts of the host that are made later are not seen."),
    "pid": (HIGH, "it sees every process of the host, and signals those of its own uid",
            "Tools that look at the host's processes see none."),
    "network": (HIGH, "it reaches the host's loopback and abstract sockets, and binds ports",
                "The container needs a network of its own."),
    "ipc": (MEDIUM, "it sees the host's System V and POSIX message queues and shared memory",
            "Shared memory with the host's processes is gone."),
    "uts": (LOW, "it sees the host's name, and can change it with CAP_SYS_ADMIN",
            "The host's later change of its name is not seen."),
    "cgroup": (LOW, "/proc/self/cgroup shows the host's cgroup tree",
               "Tools that look for the host's path of the cgroup find `/`."),
}  # fmt: skip

HOST_RULES: Final = {
    kind: Rule(
        f"host-{kind}", (grade, NOTE) if kind == "cgroup" else (grade,),
        f'Add {{"type": "{kind}"}} to linux.namespaces.', breaks,
    )
    for kind, (grade, _, breaks) in SHARED.items()
}  # fmt: skip
JOINED: Final = Rule(
    "joined-namespace",
    (NOTE,),
    "Leave out the path of the namespace: a new one is made.",
    "The containers that share it no longer reach each other through it.",
)
RULES: Final = (*HOST_RULES.values(), JOINED)


def find(world: World) -> Found:
    """Return findings about namespaces of the host or of other containers."""
    for kind in KINDS:
        origin = world.namespaces[kind]
        if origin == HOST and kind in SHARED:
            grade, shows, _ = SHARED[kind]
            yield HOST_RULES[kind].found(
                grade, f"The {kind} namespace is the host's: {shows}.", POINTER
            )
        elif origin not in (OWN, HOST):
            sentence = (
                f"The {kind} namespace is {origin}: its processes share with the container what "
                "is in it."
            )
            yield JOINED.found(NOTE, sentence, POINTER)
