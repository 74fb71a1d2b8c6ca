"""Which parts of this machine's file system a container sees.

Programs and what they need are shown; home directories, the data in /var and the sockets in /run
are not. In /etc only files that every user may read are shown, because the command may be root.

Source: docs/try.md#what-the-container-sees; hier(7).
"""

from __future__ import annotations

import os
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Final

SHOWN: Final = (
    "/bin",
    "/etc",
    "/gnu",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/nix",
    "/sbin",
    "/usr",
    "/var/lib/apt",
    "/var/lib/dpkg",
    "/var/lib/pacman",
    "/var/lib/rpm",
)
# Directories of configuration, which may hold passwords and keys.
SEARCHED: Final = ("/etc", "/usr/local/etc", "/var/lib/apt")
# The container's own directories: path and mode.
OWN: Final = (
    ("/root", 0o700),
    ("/home", 0o755),
    ("/mnt", 0o755),
    ("/opt", 0o755),
    ("/srv", 0o755),
    ("/var", 0o755),
    ("/var/cache", 0o755),
    ("/var/lib", 0o755),
    ("/var/log", 0o755),
    ("/var/spool", 0o755),
    ("/var/tmp", 0o1777),  # noqa: S108  # the container's
)
OWN_LINKS: Final = (("/var/run", "/run"), ("/var/lock", "/run/lock"))
PATH_FIELD: Final = 7  # of a line of /proc/net/unix, from 0


def masked_paths() -> list[str]:
    """Return the paths to mask below the shown directories, secrets and sockets, sorted."""
    return sorted({*secrets(SEARCHED), *sockets(SHOWN)})


def secrets(directories: tuple[str, ...]) -> Iterator[str]:
    """Yield paths below `directories` that not every user of this machine may read.

    Security: root in the container may be root of the host, who could read them.
    """
    pending = list(directories)
    while pending:
        directory = pending.pop()
        try:
            with os.scandir(directory) as entries:
                found = [
                    (entry.path, entry.stat(follow_symlinks=False).st_mode) for entry in entries
                ]
        except FileNotFoundError:
            continue  # missing on this machine, or just removed
        except PermissionError:
            yield directory
            continue
        for path, mode in found:
            if stat.S_ISLNK(mode):
                continue  # its target is checked under its own path
            if stat.S_ISDIR(mode):
                if mode & 0o005 == 0o005:
                    pending.append(path)
                else:
                    yield path
            elif not mode & stat.S_IROTH:
                yield path


def sockets(directories: tuple[str, ...]) -> Iterator[str]:
    """Yield the bound sockets below `directories`, as far as we can see them.

    Kernel: through an overlay a process can connect to the host's socket, in any namespace.
    """
    for table in _socket_tables():
        for line in table.splitlines()[1:]:
            fields = line.split(None, PATH_FIELD)
            if len(fields) > PATH_FIELD and fields[PATH_FIELD].startswith(b"/"):
                path = os.fsdecode(fields[PATH_FIELD])
                if any(path.startswith(f"{shown}/") for shown in directories):
                    yield path


def _socket_tables() -> Iterator[bytes]:
    """Yield /proc/PID/net/unix of one process in each network namespace that we may read."""
    known = set()
    for name in os.listdir("/proc"):
        if not name.isdecimal():
            continue
        try:
            namespace = os.stat(f"/proc/{name}/ns/net").st_ino
            if namespace not in known:
                with open(f"/proc/{name}/net/unix", "rb") as file:
                    yield file.read()
                known.add(namespace)
        except OSError:
            continue  # it has ended, or we have no access; then its sockets are out of reach too
