"""What config.json makes the runtime itself do: unsafe annotations, and hooks.

Source: runtime-spec config.md#posix-platform-hooks, features.md; docs/audit.md.
"""

from __future__ import annotations

import os

from ocirun.audit.finding import CRITICAL, HIGH, LOW, NOTE, Rule
from ocirun.spec.features import UNSAFE_ANNOTATIONS
from ocirun.spec.jsontext import escaped

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from ocirun.audit.finding import Found
    from ocirun.audit.world import World

ANNOTATION: Final = Rule(
    "unsafe-annotation",
    (HIGH,),
    "Remove the annotation, and keep its name from those who may write annotations.",
    "What it asks for is not done.",
)
HOOK: Final = Rule(
    "hook-on-the-host",
    (NOTE,),
    "Remove the hook.",
    "What it does for the container is not done.",
)
WRITABLE_HOOK: Final = Rule(
    "hook-in-the-container",
    (CRITICAL, LOW),
    "Take the hook from a directory that the container cannot write.",
    "Nothing, if the program is the same.",
)
RULES: Final = (ANNOTATION, HOOK, WRITABLE_HOOK)


def find(world: World) -> Found:
    """Return findings about actions of the runtime on the host."""
    for name in world.annotations:
        if any(
            name == one or (one[-1] == "." and name.startswith(one)) for one in UNSAFE_ANNOTATIONS
        ):
            sentence = f"The annotation {name} changes what the runtime does on the host."
            yield ANNOTATION.found(HIGH, sentence, f"/annotations/{escaped(name)}")
    for path, pointer in world.hook_paths:
        place = _inside(world, path)
        if place:
            sentence = (
                f"The hook {path} is in {place}, which the container shares: what it writes there "
                "runs on the host as the runtime's user."
            )
            grade = CRITICAL if _writes(world, place) else LOW
            yield WRITABLE_HOOK.found(grade, sentence, pointer)
        else:
            sentence = f"The hook {path} runs on the host, as the user of the runtime."
            yield HOOK.found(NOTE, sentence, pointer)


def _inside(world: World, path: str) -> str:
    """Return the host directory that contains `path` and is mounted in the container; "": none."""
    folders = [world.root, *(place.source for place in world.mounts if place.source)]
    real = os.path.realpath(path)
    for folder in folders:
        top = os.path.realpath(folder) if folder else ""
        if top and (real == top or real.startswith(top.rstrip("/") + "/")):
            return folder
    return ""


def _writes(world: World, folder: str) -> bool:
    if folder == world.root:
        return not world.readonly_root
    return any(place.source == folder and not place.readonly for place in world.mounts)
