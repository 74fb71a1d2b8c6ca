"""Id-mapped mounts: files that show other owners inside than they have on the host.

A mapping reads as in a user namespace: id `containerID` of the file system appears as the host's
`hostID`, which the container's own user namespace, if it has one, then shows as it does. With the
container's maps on the mount, files of root on the host are files of root inside.

    mappings on the mount      a user namespace is made for them and held by its descriptor;
                               equal mappings share one
    `idmap` or `ridmap` alone  the maps of the container's user namespace, new or joined

Source: runtime-spec config.md#mounts (uidMappings, gidMappings, idmap, ridmap);
docs/runc-compat/mounts.md#id-mapped-mounts; mount_setattr(2), "ID-mapped mounts".
"""

from __future__ import annotations

import os
from errno import EINVAL, EPERM

from ocirun.errors import Problem, UnsupportedError, doing
from ocirun.kernel.mount import (
    AT_RECURSIVE,
    MOUNT_ATTR_IDMAP,
    mount_setattr,
)
from ocirun.process.bind_sources import is_idmapped
from ocirun.process.userns_maps import make_user_namespace
from ocirun.rootfs.mounts import open_source

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from ocirun.process.request import Request
    from ocirun.spec.types import Config, IDMapping, Mount


def open_idmapped_sources(config: Config, request: Request, fds: dict[int, int]) -> None:
    """Open each id-mapped source and add it to `fds`: index in `mounts` → descriptor.

    Raises:
        SetupError: a source does not open, or the kernel cannot map the ids of its file system.
        UnsupportedError: the mount cannot be id-mapped as it is asked for.
    """
    with _MapNamespaces() as map_namespaces:
        for index, mount in enumerate(config.get("mounts") or []):
            if not is_idmapped(mount):
                continue
            if "mount" in request.namespaces.paths:
                raise _refusal(index, "id-mapped mounts need a mount namespace of their own")
            userns_fd = _userns_of(mount, config, request, map_namespaces)
            tree_fd = open_source(mount, index, request.bundle)
            if tree_fd is None:
                raise _refusal(index, "an id-mapped mount is neither a remount nor a copied link")
            fds[index] = tree_fd
            recursive = "ridmap" in (mount.get("options") or ())
            with doing(f'mapping the ids of "{mount["source"]}" for "{mount["destination"]}"'):
                _map_ids(fds[index], userns_fd, recursive=recursive)


def _refusal(index: int, words: str) -> UnsupportedError:
    return UnsupportedError([Problem(f"/mounts/{index}", words)])


def _userns_of(
    mount: Mount, config: Config, request: Request, map_namespaces: _MapNamespaces
) -> int:
    """Give the user namespace whose maps the mount shall have; borrowed."""
    if mount.get("uidMappings"):
        return map_namespaces.get(mount["uidMappings"], mount["gidMappings"])
    if "user" in request.namespaces.fds:
        return request.namespaces.fds["user"]
    linux = config["linux"]
    return map_namespaces.get(linux["uidMappings"], linux["gidMappings"])


def _map_ids(tree_fd: int, userns_fd: int, *, recursive: bool) -> None:
    flags = AT_RECURSIVE if recursive else 0
    try:
        mount_setattr(tree_fd, "", flags, MOUNT_ATTR_IDMAP, userns_fd=userns_fd)
    except OSError as error:
        if error.errno in (EINVAL, EPERM):
            which = "it or a mount below it" if recursive else "it"
            hint = f"is {which} id-mapped already, or of a file system that cannot be?"
            error.strerror = f"{error.strerror} ({hint})"
        raise


class _MapNamespaces:
    """User namespaces made for their maps, one for each distinct pair, until the block ends."""

    __slots__ = ("_fds",)

    def __init__(self) -> None:
        self._fds: dict[object, int] = {}

    def get(self, uid_mappings: list[IDMapping], gid_mappings: list[IDMapping]) -> int:
        """Give the namespace with these maps; the descriptor stays ours."""
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
