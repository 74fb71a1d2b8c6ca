"""Id-mapped mounts: files that show other owners inside than they have on the host.

A mapping reads as in a user namespace: id `containerID` of the file system appears as the host's
`hostID`, which the container's own user namespace, if it has one, then shows as it does. With the
container's maps on the mount, files of root on the host are files of root inside.

    mappings on the mount      a user namespace is made for them and held by its descriptor;
                               equal mappings share one
    `idmap=uids=…;gids=…`      the same, as crun has it (spec/id_map_option.py)
    `idmap` or `ridmap` alone  the maps of the container's user namespace, new or joined

Source: runtime-spec config.md#mounts (uidMappings, gidMappings, idmap, ridmap);
docs/runc-compat/mounts.md#id-mapped-mounts; mount_setattr(2), "ID-mapped mounts".
"""

from __future__ import annotations

import os

from ocirun.errors import Problem, UnsupportedError
from ocirun.process.userns_maps import make_user_namespace
from ocirun.rootfs.id_maps import map_ids
from ocirun.rootfs.source_trees import open_source

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from ocirun.process.request import Request
    from ocirun.rootfs.context import Entry
    from ocirun.spec.types import Config, IDMapping


def open_idmapped_sources(
    entries: list[Entry], config: Config, request: Request, fds: dict[int, int]
) -> None:
    """Open the source of each id-mapped entry and add it to `fds`: index in `mounts` → descriptor.

    For one of `request.late_sources` that is the user namespace, with which init maps the ids.

    Raises:
        SetupError: a source does not open, or the kernel cannot map the ids of its file system.
        UnsupportedError: the mount cannot be id-mapped as it is asked for.
    """
    with _MapNamespaces() as map_namespaces:
        for entry in entries:
            if not entry.is_idmapped:
                continue
            if "mount" in request.namespaces.paths:
                raise _refusal(entry, "id-mapped mounts need a mount namespace of their own")
            userns_fd = _userns_of(entry, config, request, map_namespaces)
            if entry.index in request.late_sources:
                fds[entry.index] = os.dup(userns_fd)
                continue
            tree_fd = open_source(entry, userns=request.namespaces.has("user"))
            if tree_fd is None:
                raise _refusal(entry, "an id-mapped mount is neither a remount nor a copied link")
            fds[entry.index] = tree_fd
            map_ids(entry, tree_fd, userns_fd)


def _refusal(entry: Entry, message: str) -> UnsupportedError:
    return UnsupportedError([Problem(f"/mounts/{entry.index}", message)])


def _userns_of(
    entry: Entry, config: Config, request: Request, map_namespaces: _MapNamespaces
) -> int:
    """Return the user namespace whose maps the mount gets; borrowed."""
    mount, linux = entry.mount, config.get("linux", {})
    if mount.get("uidMappings"):
        return map_namespaces.get(mount["uidMappings"], mount["gidMappings"])
    if entry.options.id_maps:
        from ocirun.spec.id_map_option import read_id_maps

        return map_namespaces.get(*read_id_maps(entry.options.id_maps, linux))
    if "user" in request.namespaces.fds:
        return request.namespaces.fds["user"]
    return map_namespaces.get(linux["uidMappings"], linux["gidMappings"])


class _MapNamespaces:
    """User namespaces made for their maps, one for each distinct pair, until the block ends."""

    __slots__ = ("_fds",)

    def __init__(self) -> None:
        self._fds: dict[object, int] = {}

    def get(self, uid_mappings: list[IDMapping], gid_mappings: list[IDMapping]) -> int:
        """Return the namespace with these maps; the descriptor stays ours."""
        key = _key(uid_mappings), _key(gid_mappings)
        if key not in self._fds:
            self._fds[key] = make_user_namespace(uid_mappings, gid_mappings)
        return self._fds[key]

    def __enter__(self) -> _MapNamespaces:
        return self

    def __exit__(self, *_: object) -> None:
        for fd in self._fds.values():
            os.close(fd)


def _key(mappings: Iterable[IDMapping]) -> tuple[tuple[int, int, int], ...]:
    return tuple((m["containerID"], m["hostID"], m["size"]) for m in mappings)
