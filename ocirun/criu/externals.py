"""What of a container belongs to the host, so that CRIU neither saves nor makes it.

    bind mounts            each has a name, its destination; restore says which source has it now
    cgroup mounts of v1    the same, one for each hierarchy
    masked files           all called /dev/null, which is what covers them
    device nodes           where a user namespace has them bound from the host
    joined namespaces      net and pid have runc's names; the others are joined by path

The names are runc's, so that either runtime restores what the other has saved.

Source: criu.org/External_bind_mounts, criu.org/External_namespaces;
docs/runc-compat/checkpoint.md#dump, docs/runc-compat/checkpoint.md#restore.
"""

from __future__ import annotations

import os
from posixpath import basename

from ocirun.rootfs.context import read_entries
from ocirun.rootfs.mountpoints import is_directory
from ocirun.rootfs.resolve import open_in_root
from ocirun.spec.devices import devices_of
from ocirun.spec.mount_options import COPY_SYMLINK, REMOUNT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Final

    from ocirun.cgroups.paths import Hierarchy
    from ocirun.process.namespaces import Namespaces
    from ocirun.rootfs.context import Entry
    from ocirun.spec.types import Config

MASK: Final = "/dev/null"
NAMESPACE_KEYS: Final = {"network": ("net", "extRootNetNS"), "pid": ("pid", "extRootPidNS")}
JOINED: Final = ("ipc", "uts", "time")  # CRIU's words for these are the specification's


def external_mounts(config: Config, bundle: str, hierarchies: list[Hierarchy]) -> dict[str, str]:
    """Map the name of each mount that belongs to the host to the path it has there.

    Masked files are not among them. `hierarchies` is what the container's cgroup says of v1.
    """
    found: dict[str, str] = {}
    for entry in _entries(config, bundle):
        if entry.options.bind:
            found[entry.destination] = entry.source
        elif entry.fs_name == "cgroup":
            for hierarchy in hierarchies:
                if hierarchy.controllers:
                    place = f"{entry.destination}/{basename(hierarchy.mount_point)}"
                    found[place] = hierarchy.path
    if any(ns["type"] == "user" for ns in config.get("linux", {}).get("namespaces") or ()):
        found.update((device["path"], device["path"]) for device in devices_of(config))
    return found


def _entries(config: Config, bundle: str) -> Iterator[Entry]:
    root = config.get("root", {"path": "rootfs"})
    rootfs = os.path.realpath(os.path.join(bundle, root["path"]))
    for entry in read_entries(config, bundle, rootfs):
        if not entry.options.extra & (REMOUNT | COPY_SYMLINK):
            yield entry


def saved_mounts(
    config: Config, bundle: str, hierarchies: list[Hierarchy], root_fd: int
) -> list[dict[str, str]]:
    """Return, for a dump, where in the container the host's mounts are, and their names.

    `root_fd` (borrowed) is the root of the running container. A destination may lead through
    symbolic links of the image; CRIU knows mounts by where they really are.
    """
    found = []
    for name in external_mounts(config, bundle, hierarchies):
        place, _ = _place(root_fd, name)
        found.append({"key": place or name, "val": name})
    for path in config.get("linux", {}).get("maskedPaths") or ():
        place, is_folder = _place(root_fd, path)
        if place and not is_folder:
            found.append({"key": place, "val": MASK})
    return found


def _place(root_fd: int, path: str) -> tuple[str, bool]:
    """Return where `path` of the container leads, and whether to a directory; "" when nowhere.

    Security: the image's links are resolved inside its root, never on the host.
    """
    try:
        fd = open_in_root(root_fd, path)
    except OSError:  # not there, or behind something that was put there since: CRIU will say so
        return "", False
    try:
        # Kernel: the name of a file in another mount namespace begins at the root of that.
        return os.readlink(f"/proc/self/fd/{fd}"), is_directory(fd)
    finally:
        os.close(fd)


def restored_mounts(
    config: Config, bundle: str, hierarchies: list[Hierarchy]
) -> list[dict[str, str]]:
    """Return, for a restore, what of the host each named mount is now."""
    found = [
        {"key": name, "val": source}
        for name, source in external_mounts(config, bundle, hierarchies).items()
    ]
    if config.get("linux", {}).get("maskedPaths"):
        found.append({"key": MASK, "val": MASK})
    return found


def saved_namespaces(namespaces: Namespaces, host_pid: int) -> list[str]:
    """Return, for a dump, the namespaces that the container has joined and does not own."""
    found = []
    for kind, (file, key) in NAMESPACE_KEYS.items():
        if kind in namespaces.paths:
            inode = os.stat(f"/proc/{host_pid}/ns/{file}").st_ino
            found.append(f"{file}[{inode}]:{key}")
    return found


def inherited_namespaces(namespaces: Namespaces) -> list[tuple[str, int]]:
    """Return (key, descriptor) of each opened namespace that CRIU takes as it is; borrowed."""
    return [
        (key, namespaces.fds[kind])
        for kind, (_, key) in NAMESPACE_KEYS.items()
        if kind in namespaces.fds
    ]


def joined_namespaces(namespaces: Namespaces) -> list[dict[str, str]]:
    """Return the other namespaces to join, which CRIU opens itself."""
    return [
        {"ns": kind, "ns_file": namespaces.paths[kind]}
        for kind in JOINED
        if kind in namespaces.paths
    ]
