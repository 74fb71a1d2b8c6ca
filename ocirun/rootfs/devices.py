"""Device nodes and the links of /dev.

Security: CVE-2026-41579: an image's /dev may be a symbolic link; everything here is relative to
a directory opened inside the root. Source: runtime-spec config-linux.md#devices, #default-devices;
runtime-linux.md#dev-symbolic-links; mknod(2).
"""

from __future__ import annotations

import os
import stat
from errno import EPERM

from ocirun.errors import SetupError, doing
from ocirun.kernel.mount import (
    AT_FDCWD,
    MOUNT_ATTR_NOEXEC,
    MOUNT_ATTR_NOSUID,
    OPEN_TREE_CLONE,
    mount_setattr,
    open_tree,
)
from ocirun.rootfs.filesystems import attach
from ocirun.rootfs.mountpoints import clean
from ocirun.rootfs.resolve import components, make_dir_in_root, make_file_in_root, open_parent
from ocirun.spec.mount_options import read_options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from ocirun.spec.types import Config, Device

KINDS: Final = {"b": stat.S_IFBLK, "c": stat.S_IFCHR, "u": stat.S_IFCHR, "p": stat.S_IFIFO}

OVERFLOW_ID: Final = (
    65534  # Kernel: what stat shows of an owner without an id (/proc/sys/kernel/overflowuid)
)

IN_THE_WAY: Final = "something else is there already"
ON_HOST: Final = "on the host, whose node is mounted because none can be made here"

LINKS: Final = (
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
)


def is_host_dev(config: Config) -> bool:
    """Return whether /dev is a bind mount: then it is the host's, and nothing is made in it."""
    return any(
        clean(mount["destination"]) == "/dev" and read_options(mount.get("options")).bind
        for mount in config.get("mounts") or ()
    )


def make_devices(
    root_fd: int, devices: list[Device], bind: bool, made_fds: dict[int, int] | None = None
) -> None:
    """Make each node of `devices` (the shape of linux.devices), with its parent directories.

    `bind`: in a user namespace nodes cannot be made; the host's node of the same path is mounted
    instead, or the one that `made_fds` has a detached mount of, by its index in `devices`; those
    are used up. A node that is there already is given the mode and owner asked for.

    Raises:
        SetupError: the path holds something else than this device; the kernel refused.
    """
    made_fds = made_fds or {}
    parents: dict[str, int] = {}
    old_umask = os.umask(0)  # Spec: fileMode is the mode, whatever the umask
    try:
        for place, device in enumerate(devices):
            path = clean(device["path"])
            if path == "/dev/ptmx":
                continue  # always the link that link_devices makes
            parts = components(path)
            with doing(f'creating device "{path}"'):
                directory = "/".join(parts[:-1])
                if directory not in parents:
                    parents[directory] = open_parent(root_fd, parts)
                parent_fd = parents[directory]
                if bind and device["type"] != "p":
                    _bind_node(root_fd, path, device, made_fds.pop(place, -1))
                else:
                    _make_node(root_fd, parent_fd, path, device)
    finally:
        os.umask(old_umask)
        for fd in (*parents.values(), *made_fds.values()):
            os.close(fd)


def link_devices(root_fd: int) -> None:
    """Make /dev/ptmx, fd, stdin, stdout, stderr, and core where the host has a kcore.

    Order: before the pivot: the host's /proc has or has not a kcore.
    """
    with doing("creating the links of /dev"):
        dev_fd = make_dir_in_root(root_fd, "/dev")
        try:
            for name, target in LINKS:
                _link(target, name, dev_fd)
            if os.access("/proc/kcore", os.F_OK):
                _link("/proc/kcore", "core", dev_fd)
            # Spec: /dev/ptmx is the link, also where the image or linux.devices brings a node.
            try:
                os.symlink("pts/ptmx", "ptmx", dir_fd=dev_fd)
            except FileExistsError:
                os.unlink("ptmx", dir_fd=dev_fd)
                os.symlink("pts/ptmx", "ptmx", dir_fd=dev_fd)
        finally:
            os.close(dev_fd)


def _link(target: str, name: str, dev_fd: int) -> None:
    try:
        os.symlink(target, name, dir_fd=dev_fd)
    except FileExistsError:
        return  # the image brings its own: left alone, as runc does


def _make_node(root_fd: int, parent_fd: int, path: str, device: Device) -> None:
    """Make one node in its directory, then see that mode and owner are as asked."""
    name = path[path.rindex("/") + 1 :]
    kind, number = identity(device)
    mode = mode_of(device)
    try:
        os.mknod(name, kind | mode, number, dir_fd=parent_fd)
    except FileExistsError:
        pass
    except OSError as error:
        if error.errno != EPERM or kind == stat.S_IFIFO:
            raise
        _bind_node(root_fd, path, device)
        return
    found = os.stat(name, dir_fd=parent_fd, follow_symlinks=False)
    _verify(found, kind, number, path)
    owner = device.get("uid") or 0, device.get("gid") or 0
    if (found.st_uid, found.st_gid) != owner or found.st_mode & 0o7777 != mode:
        try:
            _correct(name, parent_fd, path, device)
        except OSError as error:
            # The host's node, which a mount has brought into our user namespace (rootless podman's
            # --privileged): it is the right device, and its owner has no id here.
            if error.errno != EPERM or found.st_uid != OVERFLOW_ID:
                raise


def _correct(name: str, parent_fd: int, path: str, device: Device) -> None:
    """Set the owner and mode of the node, by a descriptor that was checked to be the node.

    Kernel: fchown(2) and fchmod(2) refuse O_PATH, opening a device has effects of its own, and
    fchmodat2 came with 6.6: the link of our own /proc is what is left. It is the host's until the
    pivot, so it leads to the descriptor and nowhere else.
    """
    fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent_fd)
    try:
        _verify(os.fstat(fd), *identity(device), path)
        itself = f"/proc/self/fd/{fd}"
        # Order: owner first, for a change of owner takes set-user-ID bits away.
        os.chown(itself, device.get("uid") or 0, device.get("gid") or 0)
        os.chmod(itself, mode_of(device))
    finally:
        os.close(fd)


def _bind_node(root_fd: int, path: str, device: Device, made_fd: int = -1) -> None:
    """Mount the host's node of the same path, after seeing that it is the device asked for.

    `made_fd`, unless -1, is a detached mount of a node to take instead; it is used up.

    Raises:
        SetupError: the host has no such node, or something else at its path.
    """
    tree_fd = made_fd
    if tree_fd < 0:
        try:
            tree_fd = open_tree(AT_FDCWD, path, OPEN_TREE_CLONE)
        except FileNotFoundError as error:
            error.strerror = f"{error.strerror} {ON_HOST}"
            raise
    try:
        _verify(os.fstat(tree_fd), *identity(device), path, ON_HOST)
        mount_setattr(tree_fd, "", 0, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC)
        target_fd = make_file_in_root(root_fd, path)
        try:
            attach(tree_fd, target_fd, path)
        finally:
            os.close(target_fd)
    finally:
        os.close(tree_fd)


def _verify(found: os.stat_result, kind: int, number: int, path: str, where: str = "") -> None:
    """Check that `found` is the device; `where` it was looked for, if not in the container."""
    if stat.S_IFMT(found.st_mode) != kind or found.st_rdev != number:
        what = f"something else is at that path {where}" if where else IN_THE_WAY
        raise SetupError(f'creating device "{path}": {what}')


def identity(device: Device) -> tuple[int, int]:
    """Return the file type and device number that a node of `device` has.

    Raises:
        SetupError: the specification has no such type.
    """
    kind = KINDS.get(device["type"])
    if kind is None:
        raise SetupError(f'"{device["type"]}" is not a device type')
    if kind == stat.S_IFIFO:
        return kind, 0
    return kind, os.makedev(device.get("major") or 0, device.get("minor") or 0)


def mode_of(device: Device) -> int:
    """Return the permission bits that a node of `device` has."""
    mode = device.get("fileMode")
    return 0o666 if mode is None else mode & 0o7777
