"""Which namespaces to create, which to join, and in which order.

Source: runtime-spec config-linux.md#namespaces; namespaces(7), setns(2), user_namespaces(7).
"""

from __future__ import annotations

import errno
import os

from ocirun.errors import Problem, SpecError, doing
from ocirun.kernel.process import (
    CLONE_NEWCGROUP,
    CLONE_NEWIPC,
    CLONE_NEWNET,
    CLONE_NEWNS,
    CLONE_NEWPID,
    CLONE_NEWTIME,
    CLONE_NEWUSER,
    CLONE_NEWUTS,
    setns,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Final

    from ocirun.spec.shapes import Config

# Spec's name → the kernel's flag. The names of the files in /proc/PID/ns differ for two of them.
FLAGS: Final = {
    "user": CLONE_NEWUSER,
    "mount": CLONE_NEWNS,
    "uts": CLONE_NEWUTS,
    "ipc": CLONE_NEWIPC,
    "network": CLONE_NEWNET,
    "pid": CLONE_NEWPID,
    "cgroup": CLONE_NEWCGROUP,
    "time": CLONE_NEWTIME,
}
PROC_NAMES: Final = {"mount": "mnt", "network": "net"}

NS_GET_NSTYPE: Final = 0xB703


class Namespaces:
    """What config.json says of namespaces, taken apart.

    `new` is the set of spec names to create, `paths` maps the spec names to join to their paths.
    """

    __slots__ = ("new", "paths")

    def __init__(self, config: Config) -> None:
        entries = config.get("linux", {}).get("namespaces") or []
        self.new: set[str] = set()
        self.paths: dict[str, str] = {}
        for entry in entries:
            if entry.get("path"):
                self.paths[entry["type"]] = entry["path"]
            else:
                self.new.add(entry["type"])

    def has(self, kind: str) -> bool:
        """Tell whether the container has a `kind` namespace that is not simply the caller's."""
        return kind in self.new or kind in self.paths

    @property
    def clone_flags(self) -> int:
        """The flags for clone3.

        Order: without "cgroup", which init unshares once it is in its cgroup, because the
        namespace's root is the cgroup of that moment; without "time", which must be unshared and
        given its offsets before the first process enters it (time_namespaces(7)).
        """
        flags = 0
        for kind in self.new:
            if kind not in ("cgroup", "time"):
                flags |= FLAGS[kind]
        return flags

    @property
    def need_stage(self) -> bool:
        """Tell whether a process must enter namespaces before init can be cloned.

        A joined pid or a new time namespace holds only the children of who asked for it; a new
        user namespace would own no right over the joined ones.
        """
        return (
            "pid" in self.paths
            or "user" in self.paths
            or "time" in self.new
            or ("user" in self.new and bool(self.paths))
        )


def open_namespaces(paths: Mapping[str, str]) -> dict[str, int]:
    """Open the namespaces to join, and check that each is of its kind.

    Returns:
        Spec name → descriptor, which the caller closes.

    Raises:
        SetupError: the path does not open. SpecError: it is a namespace of another kind, or none.
    """
    fds: dict[str, int] = {}
    for kind, path in paths.items():
        with doing(f"opening the {kind} namespace {path}"):
            fds[kind] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        if _kind_of(fds[kind]) != FLAGS[kind]:
            raise SpecError([Problem("/linux/namespaces", f"{path!r} is not a {kind} namespace")])
    return fds


def _kind_of(fd: int) -> int:
    from fcntl import ioctl  # cold: only when namespaces are joined

    try:
        return ioctl(fd, NS_GET_NSTYPE) & 0xFFFFFFFF
    except OSError as error:
        if error.errno in (errno.ENOTTY, errno.EINVAL):
            return 0
        raise


def join_namespaces(fds: dict[str, int]) -> None:
    """Enter the namespaces; closes each descriptor as it is done with.

    Order: what can be joined with the rights we have, then the user namespace, then what it
    owns, the mount namespace last: after it every path is the container's.
    """
    left = sorted(fds, key=lambda kind: (kind == "mount", kind))
    user_fd = fds.get("user")
    if user_fd is not None:
        left.remove("user")
        left = [kind for kind in left if not _try_join(kind, fds[kind])]
        with doing("joining the user namespace"):
            setns(user_fd, CLONE_NEWUSER)
        os.close(user_fd)
    for kind in left:
        with doing(f"joining the {kind} namespace"):
            setns(fds[kind], FLAGS[kind])
        os.close(fds[kind])


def _try_join(kind: str, fd: int) -> bool:
    try:
        setns(fd, FLAGS[kind])
    except PermissionError:  # owned by the user namespace that we join next
        return False
    os.close(fd)
    return True
