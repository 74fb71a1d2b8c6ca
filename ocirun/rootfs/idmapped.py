"""Id-mapped mounts: files of the source show other owners through this one mount.

The kernel takes the mapping from a user namespace, which is made for it and needs no process once
a descriptor holds it. Loaded only when an entry asks for it (mounts.load_for).

Source: runtime-spec config.md#posix-platform-mounts (uidMappings, gidMappings); mount_setattr(2),
user_namespaces(7).
"""

from __future__ import annotations

import os
from errno import EINVAL

from ocirun.errors import Problem, SpecError, doing
from ocirun.kernel.mount import AT_RECURSIVE, MOUNT_ATTR_IDMAP, mount_setattr
from ocirun.kernel.process import CLONE_NEWUSER, clone3
from ocirun.spec.words import RIDMAP

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirun.rootfs.context import Entry
    from ocirun.spec.shapes import IDMapping, Linux


def map_tree(tree_fd: int, entry: Entry, linux: Linux) -> None:
    """Give the detached copy of a mount the owners that a mapping says.

    The mapping is the entry's own, else that of the container's user namespace in `linux`.
    `containerID` is the id on the file system, `hostID` the one seen through the mount.

    Raises:
        SpecError: there is no mapping.
        OSError: EINVAL when the file system has no id-mapped mounts; EPERM in a user namespace,
            where only the parent could do this.
    """
    userns_fd = _mapping(entry, linux)
    try:
        flags = AT_RECURSIVE if entry.words.extra & RIDMAP else 0
        mount_setattr(tree_fd, "", flags, MOUNT_ATTR_IDMAP, userns_fd=userns_fd)
    except OSError as error:
        if error.errno == EINVAL:
            error.strerror = f"{error.strerror} (its file system has no id-mapped mounts)"
        raise
    finally:
        os.close(userns_fd)


def _mapping(entry: Entry, linux: Linux) -> int:
    """Return a user namespace with the mapping of `entry`; the caller closes it."""
    own = entry.mount.get("uidMappings"), entry.mount.get("gidMappings")
    for uid_mappings, gid_mappings in (own, (linux.get("uidMappings"), linux.get("gidMappings"))):
        if uid_mappings and gid_mappings:
            return make_user_namespace(uid_mappings, gid_mappings)
    for namespace in linux.get("namespaces") or ():
        if namespace["type"] == "user" and namespace.get("path"):
            return os.open(namespace["path"], os.O_RDONLY | os.O_CLOEXEC)
    message = "an id-mapped mount needs uidMappings and gidMappings, or a user namespace"
    raise SpecError([Problem(f"/mounts/{entry.index}", message)])


def make_user_namespace(uid_mappings: list[IDMapping], gid_mappings: list[IDMapping]) -> int:
    """Make a user namespace with these maps and nobody in it.

    Returns a descriptor of the namespace, which the caller closes. Must be called by a process
    with one thread and with the right to write any map.
    """
    reading, writing = os.pipe()
    pid, pidfd = clone3(CLONE_NEWUSER)
    if pid == 0:
        # Nothing but waiting for the end of the pipe; also when the parent is killed.
        os.close(writing)
        os.read(reading, 1)
        os._exit(0)
    try:
        os.close(reading)
        with doing("mapping the owners of a mount"):
            folder = f"/proc/{_pid_in_proc(pidfd)}"
            _write(f"{folder}/uid_map", uid_mappings)
            _write(f"{folder}/gid_map", gid_mappings)
            return os.open(f"{folder}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(writing)
        os.close(pidfd)
        os.waitpid(pid, 0)


def _pid_in_proc(pidfd: int) -> int:
    """Return the number that the mounted /proc gives the process of `pidfd`.

    Kernel: before the pivot /proc is the host's, and counts in another pid namespace than we do;
    fdinfo tells the pid as its own procfs sees it.
    """
    fd = os.open(f"/proc/self/fdinfo/{pidfd}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        text = os.read(fd, 4096)
    finally:
        os.close(fd)
    return int(text.partition(b"\nPid:")[2].partition(b"\n")[0])


def _write(path: str, mappings: list[IDMapping]) -> None:
    rows = [f"{row['containerID']} {row['hostID']} {row['size']}\n" for row in mappings]
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, "".join(rows).encode())  # Kernel: all in one write
    finally:
        os.close(fd)
