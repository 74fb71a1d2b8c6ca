"""Which namespaces to create, which to join, and in which order.

    parent   opens what is to be joined, and checks that each is of its kind, before anything is
             made; the descriptors travel in bootstrapData
    init     joins by itself what a process can simply step into
    stage    a process before init, for namespaces that only children of the caller enter
             (stage.py)

Source: runtime-spec config-linux.md#namespaces; namespaces(7), setns(2), user_namespaces(7).
"""

from __future__ import annotations

import errno
import os

from ocirun.errors import Problem, SetupError, SpecError, doing, kernel_words
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
    from typing import Final

    from ocirun.spec.types import Config

# Spec's name → the kernel's flag.
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
_NAMES: Final = {flag: f"a {kind} namespace" for kind, flag in FLAGS.items()}

NS_GET_NSTYPE: Final = 0xB703


class Namespaces:
    """What config.json says of namespaces, taken apart.

    `new` is the set of spec names to create, `paths` maps the spec names to join to their paths.
    `fds` holds those once `open` has been called, and until `close`: they are its own.
    """

    __slots__ = ("fds", "new", "paths", "pointers")

    def __init__(self, config: Config) -> None:
        entries = config.get("linux", {}).get("namespaces") or []
        self.new: set[str] = set()
        self.paths: dict[str, str] = {}
        self.pointers: dict[str, str] = {}
        self.fds: dict[str, int] = {}
        for index, entry in enumerate(entries):
            if entry.get("path"):
                self.paths[entry["type"]] = entry["path"]
                self.pointers[entry["type"]] = f"/linux/namespaces/{index}/path"
            else:
                self.new.add(entry["type"])

    def open(self) -> None:
        """Open the namespaces to join, and check that each is what it is said to be.

        Raises:
            SpecError: a path does not open, or leads to a namespace of another kind or to none,
                or to our own user namespace, which cannot be entered again.
        """
        for kind, path in self.paths.items():
            try:
                # O_NONBLOCK: opening a FIFO in its place must not block.
                self.fds[kind] = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            except OSError as error:
                raise self._refusal(kind, f"open {path}: {kernel_words(error)}") from error
            found = _kind_of(self.fds[kind])
            if found != FLAGS[kind]:
                what = _NAMES.get(found, "not a namespace")
                raise self._refusal(kind, f"{path!r} is {what}, not a {kind} namespace")
            if kind == "user" and _is_own_user_namespace(self.fds[kind]):
                raise self._refusal(kind, f"{path!r} is the user namespace we are in already")

    def close(self) -> None:
        """Close what `open` has opened."""
        while self.fds:
            os.close(self.fds.popitem()[1])

    def _refusal(self, kind: str, message: str) -> SpecError:
        return SpecError([Problem(self.pointers[kind], message)])

    def has(self, kind: str) -> bool:
        """Return whether the container has a `kind` namespace that is not simply the caller's."""
        return kind in self.new or kind in self.paths

    @property
    def clone_flags(self) -> int:
        """The flags for clone3.

        Order: without "cgroup", which init unshares once it is in its cgroup, because the
        namespace's root is the cgroup of that moment; without "time", which must be unshared and
        given its offsets before the first process enters it (time_namespaces(7)); without "ipc"
        where `unshares_ipc`.
        """
        flags = 0
        for kind in self.new:
            if kind not in ("cgroup", "time") and not (kind == "ipc" and self.unshares_ipc):
                flags |= FLAGS[kind]
        return flags

    @property
    def unshares_ipc(self) -> bool:
        """Return whether init makes its own IPC namespace, once it is root in a user namespace.

        Kernel: the root of mqueue belongs to whoever made the namespace (ipc/mqueue.c), and the
        parent is nobody in there.
        """
        return "ipc" in self.new and self.has("user")

    @property
    def need_stage(self) -> bool:
        """Return whether a process must enter namespaces before init can be cloned.

        A joined pid or a new time namespace holds only children of the caller; a new
        user namespace would own no right over the joined ones.
        """
        return (
            "pid" in self.paths
            or "user" in self.paths
            or "time" in self.new
            or ("user" in self.new and bool(self.paths))
        )


def _kind_of(fd: int) -> int:
    """Return the CLONE_NEW* flag of the namespace `fd` is open on, 0 for any other file."""
    from fcntl import ioctl  # cold: only when namespaces are joined

    try:
        return ioctl(fd, NS_GET_NSTYPE) & 0xFFFFFFFF
    except OSError:  # ENOTTY, EINVAL or what else a driver says to a number it does not know
        return 0


def _is_own_user_namespace(fd: int) -> bool:
    found, own = os.fstat(fd), os.stat("/proc/self/ns/user")
    return (found.st_dev, found.st_ino) == (own.st_dev, own.st_ino)


def join_namespaces(fds: dict[str, int]) -> None:
    """Enter the namespaces; closes each descriptor as it is done with.

    Order: what can be joined with the rights we have, then the user namespace, then what only its
    root may enter; so the others may belong to it, to our own or to a third one. The mount
    namespace last: after it every path is the container's.

    Raises:
        SetupError: the kernel refused.
    """
    left = sorted(fds, key=lambda kind: (kind == "mount", kind))
    if "user" in fds:
        left.remove("user")
        left = [kind for kind in left if not _try_join(kind, fds[kind])]
        left.insert(0, "user")
    for kind in left:
        _join(kind, fds[kind])


def _try_join(kind: str, fd: int) -> bool:
    try:
        _join(kind, fd)
    except SetupError as error:
        if error.errno == errno.EPERM:  # owned by the user namespace that we join next
            return False
        raise
    return True


def _join(kind: str, fd: int) -> None:
    with doing(f"joining the {kind} namespace"):
        setns(fd, FLAGS[kind])
    os.close(fd)
