"""The mount option `idmap=uids=0-1000-10#10-2000-5;gids=0-1000-10`, crun's way to map ids.

Each triplet is the first id of the file system, the host's id it appears as, and how many follow;
"#" separates them. With "@" the second number is an id of the container's user namespace. Loaded
only where a mount has the option.

Source: crun(1), "idmap mount options"; runtime-spec config.md#mounts (uidMappings, gidMappings).
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from ocirun.spec.types import IDMapping, Linux

    Maps = tuple[list[IDMapping], list[IDMapping]]

LIMIT: Final = 1 << 32  # Kernel: ids have 32 bits


def read_id_maps(value: str, linux: Linux) -> Maps:
    """Read the option's value: what follows its first "=". Returns the maps of uids and of gids.

    `linux` has the maps of the container's user namespace, which "@" is relative to.

    Raises:
        ValueError: it is not such a value; the text says why, in one clause.
    """
    own = {"uids": linux.get("uidMappings") or [], "gids": linux.get("gidMappings") or []}
    maps: dict[str, list[IDMapping]] = {}
    for part in value.split(";"):
        kind, equals, triplets = part.partition("=")
        if kind not in ("uids", "gids") or not equals or kind in maps:
            raise ValueError(f'"{part}" is not "uids=" or "gids=" with triplets')
        maps[kind] = [_triplet(text, own[kind]) for text in triplets.split("#")]
    if len(maps) != 2:
        raise ValueError("both uids= and gids= are needed")
    return maps["uids"], maps["gids"]


def wrong_id_maps(options: list[str], linux: Linux, *, has_maps: bool) -> str:
    """Return what is wrong with a mount's `idmap=` and `ridmap=` options, "" for nothing.

    `has_maps`: the mount has uidMappings or gidMappings as well.
    """
    if has_maps or len(options) > 1:
        return "the ids of a mount are mapped in one way only"
    name, _, value = options[0].partition("=")
    try:
        read_id_maps(value, linux)
    except ValueError as error:
        return f"{name}: {error}"
    return ""


def _triplet(text: str, own: list[IDMapping]) -> IDMapping:
    numbers = text.removeprefix("@").split("-")
    if len(numbers) != 3 or not all(number.isascii() and number.isdigit() for number in numbers):
        raise ValueError(f'"{text}" is not three numbers with "-" between them')
    inside, outside, size = map(int, numbers)
    if text.startswith("@"):
        outside = _on_host(outside, own, text)
    if not size or max(inside, outside) + size > LIMIT:
        raise ValueError(f'"{text}" is out of range')
    return {"containerID": inside, "hostID": outside, "size": size}


def _on_host(number: int, own: list[IDMapping], text: str) -> int:
    """Return the host's id of an id in the container's user namespace."""
    for entry in own:
        offset = number - entry["containerID"]
        if 0 <= offset < entry["size"]:
            return entry["hostID"] + offset
    raise ValueError(f'the user namespace has no mapping for "{text}"')
