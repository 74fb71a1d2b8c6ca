"""Checks of the kernel: its version, and the system calls that every container needs.

Source: openat2(2), open_tree(2), mount_setattr(2), clone3(2), pidfd_open(2), close_range(2).
"""

from __future__ import annotations

import os

from ocirun.doctor.probe import (
    DEGRADED,
    FILTERED,
    Lacks,
    Probe,
    in_child,
    kernel_is_at_least,
    kernel_version,
)
from ocirun.kernel.mount import (
    AT_FDCWD,
    AT_RECURSIVE,
    MOUNT_ATTR_IDMAP,
    MOUNT_ATTR_RDONLY,
    MS_PRIVATE,
    OPEN_TREE_CLONE,
    fsconfig_create,
    fsmount,
    fsopen,
    mount_setattr,
    move_mount,
    open_tree,
)
from ocirun.kernel.paths import RESOLVE_IN_ROOT, openat2
from ocirun.kernel.process import (
    CLONE_NEWNS,
    CLONE_NEWUTS,
    has_close_range,
    pidfd_getfd,
    setns,
)
from ocirun.process.userns_maps import make_user_namespace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

OLDEST: Final = (5, 12)
NEWER_KERNEL: Final = "Run Linux 5.12 or newer."
NOT_FILTERED: Final = (
    "Run Linux 5.12 or newer, outside of a sandbox whose seccomp filter blocks the call."
)


def version() -> str:
    """Return the version of the kernel.

    Raises:
        Lacks: it is too old.
    """
    release = os.uname().release
    if kernel_version() < OLDEST:
        raise Lacks(release)
    return f"{release} on {os.uname().machine}"


def open_in_root() -> str:
    """Open a directory as if it were "/"."""
    os.close(openat2(AT_FDCWD, "/", os.O_PATH | os.O_DIRECTORY, 0, RESOLVE_IN_ROOT))
    return "openat2 with RESOLVE_IN_ROOT"


def detached_mounts() -> str:
    """Make a detached file system and a detached copy of a mount, and change their attributes."""
    in_child(_detached_mounts, CLONE_NEWNS)
    return "fsopen, fsmount, open_tree, move_mount, mount_setattr"


def _detached_mounts() -> None:
    mount_setattr(AT_FDCWD, "/", AT_RECURSIVE, propagation=MS_PRIVATE)
    fs_fd = fsopen("tmpfs")
    fsconfig_create(fs_fd)
    mount_fd = fsmount(fs_fd, 0)
    mount_setattr(mount_fd, "", 0, MOUNT_ATTR_RDONLY)
    open_tree(AT_FDCWD, "/", OPEN_TREE_CLONE | AT_RECURSIVE)
    # Kernel: before 6.15 nothing can be attached to a detached copy, so the target is "/" itself.
    move_mount(mount_fd, os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))


def pidfds() -> str:
    """Clone with a pidfd, then join a namespace and fetch a descriptor through it."""
    in_child(_pidfds, CLONE_NEWUTS)
    return "clone3, pidfd_open, pidfd_getfd, setns with a pidfd"


def _pidfds() -> None:
    pidfd = os.pidfd_open(os.getpid())
    setns(pidfd, CLONE_NEWUTS)
    pidfd_getfd(pidfd, pidfd)


def ranges_of_descriptors() -> str:
    """Call close_range on descriptors that do not exist."""
    if not has_close_range():
        raise Lacks("refused or missing", remedy=FILTERED if kernel_is_at_least(5, 12) else None)
    return "close_range with CLOSE_RANGE_CLOEXEC"


def idmapped_mounts() -> str:
    """Id-map a copy of the mount at /.

    Raises:
        Lacks: this user is not root.
    """
    if os.geteuid() != 0:
        raise Lacks("only root may map the ids of the host's file systems")
    in_child(_idmapped_mounts, CLONE_NEWNS)
    return "on the file system of /"


def _idmapped_mounts() -> None:
    mapping = {"containerID": 0, "hostID": 100000, "size": 65536}
    userns_fd = make_user_namespace([mapping], [mapping])  # type: ignore[list-item]  # it is one
    tree_fd = open_tree(AT_FDCWD, "/", OPEN_TREE_CLONE)
    mount_setattr(tree_fd, "", 0, MOUNT_ATTR_IDMAP, userns_fd=userns_fd)


PROBES: Final = (
    Probe(
        "version",
        version,
        "No container can be created.",
        NEWER_KERNEL,
        needed=True,
        did="read uname(2)",
    ),
    Probe(
        "openat2",
        open_in_root,
        "No container can be created.",
        NOT_FILTERED,
        needed=True,
        did="opened / with openat2 and RESOLVE_IN_ROOT",
    ),
    Probe(
        "mount API",
        detached_mounts,
        "No container can be created.",
        "Run Linux 5.12 or newer; in a container, give it CAP_SYS_ADMIN or user namespaces.",
        needed=True,
        did="made and attached detached mounts in a child",
    ),
    Probe(
        "pidfd",
        pidfds,
        "No container can be created or entered.",
        NOT_FILTERED,
        needed=True,
        did="cloned a child with clone3, and used pidfds in it",
    ),
    Probe(
        "close_range",
        ranges_of_descriptors,
        "Descriptors are closed one by one, in 0.2 s.",
        NOT_FILTERED,
        without=DEGRADED,
        did="called close_range on descriptors that are not there",
    ),
    Probe(
        "id-mapped mounts",
        idmapped_mounts,
        "A mount with idmap, ridmap or its own mappings is refused on such a file system.",
        "Use a file system that supports it (ext4, xfs, btrfs; tmpfs from 6.3, overlay from 6.6 "
        "on), as root.",
        without=DEGRADED,
        did="id-mapped a copy of the mount of / in a child",
    ),
)
