"""What a schema cannot say of `mounts`.

Source: runtime-spec config.md#mounts; docs/runc-compat/init.md#validation.
"""

from __future__ import annotations

import os

from ocirun.errors import Problem
from ocirun.spec.jsontext import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Final

    from ocirun.spec.types import Config, Mount

    Found = Iterator[Problem]


def is_bind(mount: Mount) -> bool:
    """Return whether `mount` is a bind mount: its options say so, its type has no meaning."""
    options = mount.get("options", ())
    return "bind" in options or "rbind" in options


def mount_has_a_place(config: Config) -> Found:
    """An empty destination is nowhere. A relative one is taken from the root, as runc does."""
    for index, mount in enumerate(config.get("mounts", ())):
        if not mount["destination"]:
            yield Problem(f"/mounts/{index}/destination", "destination must not be empty")
        if is_bind(mount) and not mount.get("source"):
            yield Problem(f"/mounts/{index}/source", "source of a bind mount must not be empty")


def bind_has_no_data(config: Config) -> Found:
    """Options that are no words of ours would go to a file system, and a bind mount makes none.

    A word alone may be a slip of the pen that was to protect something ("noexce"). What has a value
    (`mode=755`) can only be meant for a file system, and says no more than mount(8) ignores too.
    """
    for index, mount in enumerate(config.get("mounts", ())):
        if is_bind(mount):
            from ocirun.spec.mount_options import read_options  # rootfs needs it as well

            if data := [one for one in read_options(mount["options"]).data if "=" not in one]:
                message = "bind mounts cannot have any filesystem-specific options applied"
                yield Problem(f"/mounts/{index}/options", f"{message}: {printable(','.join(data))}")


def id_mapped_mount(config: Config) -> Found:
    """Id maps are for bind mounts, come in pairs, and need root on the host."""
    namespaces = config.get("linux", {}).get("namespaces", ())
    in_userns = any(entry["type"] == "user" for entry in namespaces)
    for index, mount in enumerate(config.get("mounts", ())):
        where = f"/mounts/{index}"
        maps = [name for name in ("uidMappings", "gidMappings") if mount.get(name)]
        asked = [one for one in mount.get("options") or () if one.startswith(("idmap", "ridmap"))]
        given = [one for one in asked if "=" in one]
        if not maps and not asked:
            continue
        if not is_bind(mount):
            yield Problem(where, "id-mapped mounts are only supported for bind mounts")
        if len(maps) == 1:
            yield Problem(where, "id-mapped mounts need both uidMappings and gidMappings")
        if not maps and not given and not in_userns:
            message = f"{asked[0]} without mappings needs a user namespace"
            yield Problem(f"{where}/options", message)
        if given:
            from ocirun.spec.id_map_option import wrong_id_maps  # cold: crun's own option

            if message := wrong_id_maps(given, config.get("linux", {}), has_maps=bool(maps)):
                yield Problem(f"{where}/options", message)
        if os.geteuid() != 0:
            yield Problem(where, "id-mapped mounts are not supported for rootless containers")


MOUNT_RULES: Final = (mount_has_a_place, bind_has_no_data, id_mapped_mount)
