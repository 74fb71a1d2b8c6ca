"""The mount of type cgroup: what the container sees of its cgroups.

On v1 a small tmpfs with a directory per hierarchy; on v2 the one tree. With a cgroup namespace
the kernel shows just the container's part of each; without one, its part is bound (v1), or the
whole tree is shown (v2).

Source: runtime-spec config-linux.md#cgroups-path; cgroup_namespaces(7);
docs/runc-compat/mounts.md#cgroup-mount.
"""

from __future__ import annotations

import os
from errno import EBUSY, EPERM
from posixpath import basename

from ocirun.errors import SetupError
from ocirun.kernel.mount import (
    AT_FDCWD,
    AT_RECURSIVE,
    MOUNT_ATTR_NODEV,
    MOUNT_ATTR_NOEXEC,
    MOUNT_ATTR_NOSUID,
    MOUNT_ATTR_RDONLY,
    MS_RDONLY,
    OPEN_TREE_CLONE,
    mount_setattr,
    open_tree,
)
from ocirun.rootfs.filesystems import (
    attach,
    finish,
    label_option,
    make_filesystem,
    set_attributes,
)
from ocirun.rootfs.mountpoints import open_directory, refuse_proc
from ocirun.rootfs.resolve import DIRECTORY
from ocirun.spec.mount_options import ATTRIBUTE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from ocirun.cgroups.paths import Hierarchy
    from ocirun.rootfs.context import CgroupView, Entry, MountContext
    from ocirun.spec.mount_options import MountOptions

QUIET: Final = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC


def mount_cgroup(root_fd: int, entry: Entry, context: MountContext) -> None:
    """Mount the container's cgroups at the entry's destination. `root_fd` is borrowed.

    Raises:
        SetupError: this host has no cgroups to show.
        OSError: what the kernel refused.
    """
    view = context.cgroup
    if view is None or not view.hierarchies:
        raise SetupError(
            f'mounting cgroup at "{entry.destination}": this host has no cgroup mounted'
        )
    refuse_proc(entry.destination, is_procfs=False)
    start_fd, below = context.kernel_mounts.start_of(root_fd, entry.destination, above=True)
    target_fd, _ = open_directory(start_fd, below)
    try:
        if view.unified:
            _mount_unified(target_fd, entry, context)
        else:
            _mount_hierarchies(target_fd, view, entry, context)
    finally:
        os.close(target_fd)


def _mount_hierarchies(
    target_fd: int, view: CgroupView, entry: Entry, context: MountContext
) -> None:
    """Show the hierarchies of v1 in a tmpfs, each under the name of its host mount point."""
    options = entry.options
    data = ["mode=755"]
    if context.mount_label:
        data.append(label_option(context.mount_label))
    tmpfs_fd = make_filesystem("tmpfs", "tmpfs", QUIET, 0, data)
    try:
        # Kernel: before 6.15 nothing can be mounted inside a detached mount: attached first.
        attach(tmpfs_fd, target_fd, entry.destination)
        for hierarchy in view.hierarchies:
            name = basename(hierarchy.mount_point)
            os.mkdir(name, 0o755, dir_fd=tmpfs_fd)
            _mount_hierarchy(tmpfs_fd, name, hierarchy, options, context.cgroupns)
            for controller in hierarchy.controllers:
                if controller != name and "=" not in controller:
                    os.symlink(name, controller, dir_fd=tmpfs_fd)
        # Order: read-only when everything in it stands.
        if options.attr_set & MOUNT_ATTR_RDONLY:
            mount_setattr(tmpfs_fd, "", 0, MOUNT_ATTR_RDONLY)
        finish(tmpfs_fd, options)
    finally:
        os.close(tmpfs_fd)


def _mount_hierarchy(
    tmpfs_fd: int, name: str, hierarchy: Hierarchy, options: MountOptions, cgroupns: bool
) -> None:
    """Mount one hierarchy of v1 on the directory `name` of the tmpfs."""
    if cgroupns:
        # Kernel: mounted from inside a cgroup namespace its root is the container's cgroup.
        attributes = QUIET | options.attr_set & MOUNT_ATTR_RDONLY
        source = name if name == "systemd" else "cgroup"
        mount_fd = make_filesystem("cgroup", source, attributes, 0, [*hierarchy.controllers])
    else:
        mount_fd = open_tree(AT_FDCWD, hierarchy.path, OPEN_TREE_CLONE | AT_RECURSIVE)
    try:
        if not cgroupns:
            set_attributes(mount_fd, options)
        place_fd = os.open(name, DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=tmpfs_fd)
        try:
            attach(mount_fd, place_fd, name)
        finally:
            os.close(place_fd)
    finally:
        os.close(mount_fd)


def _mount_unified(target_fd: int, entry: Entry, context: MountContext) -> None:
    """Show the tree of v2; where it cannot be mounted, bind it; where it is not there, hide it."""
    options = entry.options
    try:
        # The superblock is the host's own: its flags are not ours to choose.
        mount_fd = make_filesystem(
            "cgroup2", entry.source or "cgroup", options.attr_set, 0, options.data
        )
    except OSError as error:
        if error.errno not in (EPERM, EBUSY):
            raise
        mount_fd = _bind_unified(options, context)
    try:
        attach(mount_fd, target_fd, entry.destination)
        finish(mount_fd, options)
    finally:
        os.close(mount_fd)


def _bind_unified(options: MountOptions, context: MountContext) -> int:
    """Copy the host's mount of v2: the container's part with a cgroup namespace, else all of it.

    Returns a detached mount the caller closes.
    """
    view = context.cgroup
    if view is None:
        raise SetupError("this host has no cgroup mounted")
    own = view.hierarchies[0]
    try:
        path = own.path if context.cgroupns else own.mount_point
        mount_fd = open_tree(AT_FDCWD, path, OPEN_TREE_CLONE | AT_RECURSIVE)
    except FileNotFoundError:
        if not context.userns:
            raise
        # Security: CVE-2023-25809: with /sys bound from the host, the host's tree would show.
        return make_filesystem("tmpfs", "tmpfs", QUIET | MOUNT_ATTR_RDONLY, MS_RDONLY, [])
    try:
        if context.userns and not context.cgroupns:
            # Security: CVE-2023-25809: the whole tree of the host, so never to be written.
            options.take(ATTRIBUTE, MOUNT_ATTR_RDONLY, 0)
        set_attributes(mount_fd, options)
    except BaseException:
        os.close(mount_fd)
        raise
    return mount_fd
