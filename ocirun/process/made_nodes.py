"""Device nodes for a container with a user namespace that the host does not have.

Root of a user namespace may not call mknod(2), so init mounts the host's node of the same path
(rootfs/devices.py). If the host has no such node there, the parent creates it, as crun does: in a
tmpfs that is not attached anywhere and is passed to init by descriptor.

Security: only real root can do this; the cgroup's device rules decide what a node grants, as for
    every container. Only init sees the tmpfs, and copies the nodes out of it.

Source: mknod(2); fsmount(2); open_tree(2); user_namespaces(7).
"""

from __future__ import annotations

import os
import stat

from ocirun.errors import SetupError, doing
from ocirun.kernel.mount import (
    MNT_DETACH,
    MOUNT_ATTR_NOEXEC,
    MOUNT_ATTR_NOSUID,
    OPEN_TREE_CLONE,
    move_mount,
    open_tree,
    umount2,
)
from ocirun.process.userns_maps import id_on_host, read_maps
from ocirun.rootfs.devices import identity, mode_of
from ocirun.rootfs.filesystems import make_filesystem
from ocirun.rootfs.mountpoints import clean
from ocirun.spec.devices import devices_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    from ocirun.process.request import Request
    from ocirun.process.userns_maps import Map
    from ocirun.spec.types import Config, Device


def make_missing_nodes(config: Config, request: Request) -> int:
    """Create the nodes that init could neither create nor find on the host.

    Stores their indices in `devices_of(config)` in `request.made_nodes`.

    Returns:
        A descriptor of the tmpfs, which the caller closes; its files are named by those indices. -1
        if nothing is to be created, or we may not create nodes either: init then reports the error.

    Raises:
        SetupError: the node's owner is not mapped in the user namespace, or the kernel refused.
    """
    request.made_nodes = []
    if not request.make_devices or "mount" in request.namespaces.paths or os.geteuid() != 0:
        return -1
    devices = devices_of(config)
    missing = [place for place, device in enumerate(devices) if not _host_has(device)]
    if not missing:
        return -1
    uid_map, gid_map = read_maps(config, request.namespaces.fds.get("user", -1))
    nodes_fd = _make_tmpfs()
    if nodes_fd < 0:
        return -1
    try:
        for place in missing:
            device = devices[place]
            with doing(f'creating device "{device["path"]}"'):
                uid = _owner(device, "uid", uid_map)
                gid = _owner(device, "gid", gid_map)
                if not _make_node(nodes_fd, str(place), device, uid, gid):
                    os.close(nodes_fd)
                    return -1
    except BaseException:
        os.close(nodes_fd)
        raise
    request.made_nodes = missing
    return nodes_fd


def copy_made_nodes(nodes_fd: int, root_fd: int, places: list[int]) -> dict[int, int]:
    """Return a detached mount of each node of the parent's tmpfs by its index; the caller closes.

    Closes `nodes_fd`. `root_fd` (borrowed) is the root, a mount in our own mount namespace.

    Kernel: before 6.15 open_tree copies only what is mounted in the caller's namespace. So the
    tmpfs is mounted meanwhile: over the root, where no path reaches it, since each starts at
    `root_fd`.
    """
    fds: dict[int, int] = {}
    try:
        move_mount(nodes_fd, root_fd)
        try:
            for place in places:
                fds[place] = open_tree(nodes_fd, str(place), OPEN_TREE_CLONE)
        finally:
            umount2(f"/proc/self/fd/{nodes_fd}", MNT_DETACH)
    except BaseException:
        for fd in fds.values():
            os.close(fd)
        raise
    finally:
        os.close(nodes_fd)
    return fds


def _host_has(device: Device) -> bool:
    """Return whether init can mount the host's node, or create the FIFO itself."""
    kind, number = identity(device)
    if kind == stat.S_IFIFO or clean(device["path"]) == "/dev/ptmx":
        return True
    try:
        found = os.stat(clean(device["path"]))
    except OSError:
        return False
    return stat.S_IFMT(found.st_mode) == kind and found.st_rdev == number


def _make_tmpfs() -> int:
    """Return a new, detached tmpfs; -1 if we may not create one (in a user namespace)."""
    # Kernel: root of the container's user namespace looks up the nodes without privileges over it.
    data = ["mode=0711", "size=64k"]
    with doing("making a tmpfs for device nodes"):
        try:
            return make_filesystem("tmpfs", "", MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC, 0, data)
        except PermissionError:
            return -1


def _owner(device: Device, kind: Literal["uid", "gid"], rows: Map) -> int:
    inside = device.get(kind) or 0
    outside = id_on_host(rows, inside)
    if outside < 0:
        raise SetupError(
            f'creating device "{device["path"]}": {kind} {inside} has no mapping in the user '
            "namespace"
        )
    return outside


def _make_node(nodes_fd: int, name: str, device: Device, uid: int, gid: int) -> bool:
    """Create one node; return False if we may not create any.

    Kernel: EPERM in a user namespace, without CAP_MKNOD, or by the device rules of our own cgroup.
    """
    kind, number = identity(device)
    try:
        os.mknod(name, kind | 0o600, number, dir_fd=nodes_fd)
    except PermissionError:
        return False
    # Order: owner first, because chown(2) clears setuid bits.
    os.chown(name, uid, gid, dir_fd=nodes_fd)
    os.chmod(name, mode_of(device), dir_fd=nodes_fd)
    return True
