"""Landlock: a process restricts its and its children's access to files, ports and processes.

Source: landlock(7), landlock_create_ruleset(2), landlock_add_rule(2), landlock_restrict_self(2);
linux/landlock.h; kernel userspace-api/landlock.rst.
"""

from __future__ import annotations

from errno import ENOSYS, EOPNOTSUPP

from ocirun.kernel._native import ffi, lib
from ocirun.kernel.oserror import oserror

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

LANDLOCK_ACCESS_FS_EXECUTE: Final = 1 << 0
LANDLOCK_ACCESS_FS_WRITE_FILE: Final = 1 << 1
LANDLOCK_ACCESS_FS_READ_FILE: Final = 1 << 2
LANDLOCK_ACCESS_FS_READ_DIR: Final = 1 << 3
LANDLOCK_ACCESS_FS_TRUNCATE: Final = 1 << 14  # ABI 3
LANDLOCK_ACCESS_FS_IOCTL_DEV: Final = 1 << 15  # ABI 5
# REMOVE_DIR to MAKE_SYM, and from ABI 2 on REFER: to link and rename between directories.
CHANGE_DIRECTORIES: Final = 0x3FF0
LANDLOCK_ACCESS_NET_BIND_TCP: Final = 1 << 0
LANDLOCK_ACCESS_NET_CONNECT_TCP: Final = 1 << 1
LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET: Final = 1 << 0
LANDLOCK_SCOPE_SIGNAL: Final = 1 << 1

# Bytes of struct landlock_ruleset_attr up to each member; kernels refuse what they do not know.
WITH_FILES, WITH_PORTS, WITH_SCOPES = 8, 16, 24


def abi() -> int:
    """Return the version of Landlock's ABI in this kernel; 0 without Landlock.

    Raises:
        OSError: the call was refused, for example by a seccomp filter.
    """
    version = int(lib.sys_landlock_abi())
    if version >= 0:
        return version
    if ffi.errno in (ENOSYS, EOPNOTSUPP):  # not built in, or disabled
        return 0
    raise oserror(ffi.errno, "landlock_create_ruleset(LANDLOCK_CREATE_RULESET_VERSION)")


def create_ruleset(fs: int, net: int, scoped: int) -> int:
    """Return the descriptor of a ruleset, close-on-exec, which the caller closes.

    `fs` and `net` are the access rights that it handles: denied unless a rule allows them.

    Raises:
        OSError: EINVAL for an access that this kernel does not know.
    """
    size = WITH_SCOPES if scoped else WITH_PORTS if net else WITH_FILES
    fd = lib.sys_landlock_create_ruleset(fs, net, scoped, size)
    if fd < 0:
        what = f"landlock_create_ruleset({fs:#x}, {net:#x}, {scoped:#x})"
        raise oserror(ffi.errno, what)
    return int(fd)


def add_path(ruleset_fd: int, path_fd: int, access: int) -> None:
    """Allow `access` to the file or directory `path_fd`, and everything below it.

    Descriptors are borrowed; `path_fd` may be one of O_PATH.

    Raises:
        OSError: EINVAL for an access that is not handled, or one to directories for a file.
    """
    if lib.sys_landlock_add_path(ruleset_fd, path_fd, access) < 0:
        raise oserror(ffi.errno, f"landlock_add_rule(LANDLOCK_RULE_PATH_BENEATH, {access:#x})")


def add_port(ruleset_fd: int, port: int, access: int) -> None:
    """Allow `access` to the TCP port `port`; the descriptor is borrowed.

    Raises:
        OSError: EINVAL for an access that is not handled; EAFNOSUPPORT without TCP in the kernel.
    """
    if lib.sys_landlock_add_port(ruleset_fd, port, access) < 0:
        raise oserror(ffi.errno, f"landlock_add_rule(LANDLOCK_RULE_NET_PORT, {port}, {access:#x})")


def restrict_self(ruleset_fd: int) -> None:
    """Confine this thread and its children with the ruleset (borrowed); cannot be undone.

    Raises:
        OSError: EPERM without no_new_privs and without CAP_SYS_ADMIN in our user namespace;
            E2BIG with sixteen rulesets already in force.
    """
    if lib.sys_landlock_restrict_self(ruleset_fd) < 0:
        raise oserror(ffi.errno, "landlock_restrict_self")
