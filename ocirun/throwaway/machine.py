"""What a container over this machine's own file system sees of it.

Shown are the programs, and what they need: not the homes, not /var with its data, not /run with its
sockets. Of /etc only what every user may read is shown, although the command may be root.

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
# Where configuration lies, and with it passwords and keys.
SEARCHED: Final = ("/etc", "/usr/local/etc", "/var/lib/apt")
# Directories of the container's own: path and mode.
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
    """Return what must be masked below the shown directories: secrets and sockets, sorted."""
    return sorted({*secrets(SEARCHED), *sockets(SHOWN)})


def secrets(directories: tuple[str, ...]) -> Iterator[str]:
    """Yield what below `directories` not everybody on this machine may read.

    Security: root of the container may be root of the host, who could read them.
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
            continue  # not on this machine, or just removed
        except PermissionError:
            yield directory
            continue
        for path, mode in found:
            if stat.S_ISLNK(mode):
                continue  # what it leads to is judged where it is
            if stat.S_ISDIR(mode):
                if mode & 0o005 == 0o005:
                    pending.append(path)
                else:
                    yield path
            elif not mode & stat.S_IROTH:
                yield path


def sockets(directories: tuple[str, ...]) -> Iterator[str]:
    """Yield the sockets below `directories` that somebody has bound, as far as we may know.

    Kernel: an overlay leads to the socket of the host, whatever namespaces the caller is in.
    """
    for table in _socket_tables():
        for line in table.splitlines()[1:]:
            fields = line.split(None, PATH_FIELD)
            if len(fields) > PATH_FIELD and fields[PATH_FIELD].startswith(b"/"):
                path = os.fsdecode(fields[PATH_FIELD])
                if any(path.startswith(f"{shown}/") for shown in directories):
                    yield path


def _socket_tables() -> Iterator[bytes]:
    """Yield /proc/PID/net/unix of one process in each network namespace that we may look into."""
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
            continue  # it has ended, or is not ours to look into: nor is its socket to use
