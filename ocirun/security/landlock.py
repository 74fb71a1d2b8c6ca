"""Landlock for a container: the parent decides, init creates the ruleset and confines itself.

    annotations ─► prepare (parent) ─► Request.landlock ─► begin_ruleset … restrict_self (init)

Source: docs/landlock.md; landlock(7).
"""

from __future__ import annotations

import os
import stat

from ocirun.errors import Problem, UnsupportedError, doing
from ocirun.kernel import landlock as kernel
from ocirun.spec import LANDLOCK
from ocirun.spec.landlock import PATHS, PORTS, SCOPE, SCOPES, pointer_of, read_landlock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    from ocirun.spec.types import Config

READ: Final = kernel.LANDLOCK_ACCESS_FS_READ_FILE | kernel.LANDLOCK_ACCESS_FS_READ_DIR
WRITE: Final = (
    kernel.LANDLOCK_ACCESS_FS_WRITE_FILE
    | kernel.CHANGE_DIRECTORIES
    | kernel.LANDLOCK_ACCESS_FS_TRUNCATE
    | kernel.LANDLOCK_ACCESS_FS_IOCTL_DEV
)
ACCESS: Final = {
    "read-only": READ,
    "read-write": READ | WRITE,
    "execute": READ | kernel.LANDLOCK_ACCESS_FS_EXECUTE,
    "tcp-bind": kernel.LANDLOCK_ACCESS_NET_BIND_TCP,
    "tcp-connect": kernel.LANDLOCK_ACCESS_NET_CONNECT_TCP,
    "signals": kernel.LANDLOCK_SCOPE_SIGNAL,
    "abstract-sockets": kernel.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET,
}
# The access rights that a rule for a file, not a directory, may have.
OF_FILES: Final = (
    kernel.LANDLOCK_ACCESS_FS_EXECUTE
    | kernel.LANDLOCK_ACCESS_FS_WRITE_FILE
    | kernel.LANDLOCK_ACCESS_FS_READ_FILE
    | kernel.LANDLOCK_ACCESS_FS_TRUNCATE
    | kernel.LANDLOCK_ACCESS_FS_IOCTL_DEV
)
# The ABI that an annotation needs, and the first kernel with it. Before ABI 3 a read-only file
# could be truncated.
NEEDED: Final = {
    **dict.fromkeys(PATHS, (3, "6.2")),
    **dict.fromkeys(PORTS, (4, "6.7")),
    SCOPE: (6, "6.12"),
}
WITH_IOCTL: Final = 5


def prepare(config: Config) -> dict[str, Any]:
    """Return what init needs to confine itself, as JSON.

    Raises:
        SpecError: an annotation is wrong. UnsupportedError: this kernel does not support one.
    """
    wanted = read_landlock(config).lists
    version = kernel.abi()
    problems = [
        Problem(
            pointer_of(LANDLOCK + name),
            f"needs Landlock ABI {needed}, and this kernel has "
            + (f"ABI {version}" if version else "no Landlock"),
            f"Linux {release} has it" if version else "",
        )
        for name, (needed, release) in NEEDED.items()
        if name in wanted and version < needed
    ]
    if problems:
        raise UnsupportedError(problems)
    handled = 0
    if not wanted.keys().isdisjoint(PATHS):
        handled = READ | WRITE | kernel.LANDLOCK_ACCESS_FS_EXECUTE
        if version < WITH_IOCTL:
            handled &= ~kernel.LANDLOCK_ACCESS_FS_IOCTL_DEV
    return {
        "fs": handled,
        "net": sum(ACCESS[name] for name in PORTS if name in wanted),
        "scoped": sum(ACCESS[name] for name in SCOPES if name in wanted.get(SCOPE, ())),
        "paths": [
            (path, name, ACCESS[name] & handled) for name in PATHS for path in wanted.get(name, ())
        ],
        "ports": [(port, ACCESS[name]) for name in PORTS for port in wanted.get(name, ())],
    }


def begin_ruleset(prepared: dict[str, Any]) -> int | None:
    """Return the descriptor of a ruleset with the ports, which the caller closes.

    None if nothing is confined: an empty list of scopes.

    Raises:
        SetupError: the kernel refuses.
    """
    if not (prepared["fs"] or prepared["net"] or prepared["scoped"]):
        return None
    with doing("making the Landlock ruleset"):
        ruleset_fd = kernel.create_ruleset(prepared["fs"], prepared["net"], prepared["scoped"])
    for port, access in prepared["ports"]:
        with doing(f"allowing port {port} with Landlock"):
            kernel.add_port(ruleset_fd, port, access)
    return ruleset_fd


def allow_path(ruleset_fd: int, path_fd: int, access: int) -> None:
    """Allow `access` to what `path_fd` is open on (both borrowed), and below it.

    Raises:
        OSError: the kernel refuses.
    """
    is_directory = stat.S_ISDIR(os.fstat(path_fd).st_mode)
    kernel.add_path(ruleset_fd, path_fd, access if is_directory else access & OF_FILES)


def restrict_self(ruleset_fd: int) -> None:
    """Confine this process with the ruleset, and close its descriptor.

    Raises:
        SetupError: the kernel refuses.
    """
    with doing("confining the process with Landlock"):
        kernel.restrict_self(ruleset_fd)
    os.close(ruleset_fd)
