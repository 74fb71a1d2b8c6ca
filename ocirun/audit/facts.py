"""Facts about a process, derived from files of /proc and of its root.

Source: proc_pid_mountinfo(5), user_namespaces(7), cgroups(7), ptrace(2).
"""

from __future__ import annotations

import os
import stat
import struct

from ocirun.audit.tree import Tree
from ocirun.audit.world import Node
from ocirun.errors import kernel_words
from ocirun.kernel.paths import RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS, openat2
from ocirun.spec.capabilities import CAPABILITIES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from ocirun.audit.world import IdMap
    from ocirun.kernel.mountinfo import MountRow

INSIDE: Final = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS
SETUID: Final = stat.S_ISUID | stat.S_ISGID
KINDS: Final = {stat.S_IFBLK: "b", stat.S_IFCHR: "c"}
NO_LIMIT: Final = 2**62  # v1 writes "no limit" as a number near 2**63
WHOLE: Final = [(0, 0, 2**32 - 1)]


def nodes_of(root_fd: int, pointers: dict[str, str]) -> list[Node]:
    """Return the device nodes in /dev below `root_fd` (borrowed), with their JSON pointers."""
    found: list[Node] = []
    try:
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        dev_fd = openat2(root_fd, "dev", flags, 0, INSIDE)
    except OSError:  # a container without /dev
        return found
    try:
        for path, status, _ in Tree(dev_fd, one_mount=False).files():
            kind = KINDS.get(stat.S_IFMT(status.st_mode))
            if kind:
                place = f"/dev{path}"
                major, minor = os.major(status.st_rdev), os.minor(status.st_rdev)
                found.append(Node(place, kind, major, minor, pointers.get(place, "/linux/devices")))
    finally:
        os.close(dev_fd)
    return found


class Programs:
    """Programs with rights of their own in the tree of `root_fd` (borrowed); its mount only.

    `setuid` are those with a setuid or setgid bit, sorted. `capable` has the capabilities that
    others get, by path: those that are permitted, of files whose root user is in `roots`, uids on
    the host. Paths begin with "/". `whole`: the search finished.

    Source: execve(2); capabilities(7), "File capabilities" and "Namespaced file capabilities".
    """

    __slots__ = ("capable", "setuid", "whole")

    def __init__(self, root_fd: int, roots: set[int]) -> None:
        tree = Tree(root_fd, one_mount=True)
        self.setuid: list[str] = []
        self.capable: dict[str, frozenset[str]] = {}
        for path, status, place in tree.files():
            if not (stat.S_ISREG(status.st_mode) and status.st_mode & 0o111):
                continue
            if status.st_mode & SETUID:
                self.setuid.append(path)
            found = _file_capabilities(place, roots)
            if found:
                self.capable[path] = found
        self.setuid.sort()
        self.whole = tree.whole


def _file_capabilities(path: str, roots: set[int]) -> frozenset[str]:
    try:
        data = os.getxattr(path, "security.capability", follow_symlinks=False)
    except OSError:  # none, a file system without them, or removed by now
        return frozenset()
    words = struct.unpack(f"<{len(data) // 4}I", data[: len(data) // 4 * 4])
    if len(words) < 3 or (len(words) > 5 and words[5] not in roots):
        return frozenset()
    bits = words[1] | (words[3] << 32 if len(words) > 4 else 0)
    return frozenset(name for name, number in CAPABILITIES.items() if bits >> number & 1)


def filters_of(pid: int) -> list[bytes]:
    """Return the seccomp filters of `pid`; a child reads them, so `pid` resumes when it ends.

    Raises:
        OSError: as for read_filters.
    """
    from ocirun.kernel.ptrace import read_filters

    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reading)
            said = "0\n" + "\n".join(one.hex() for one in read_filters(pid))
        except OSError as error:
            said = f"{error.errno or 5}\n{kernel_words(error)}"
        except BaseException as error:  # noqa: BLE001  # reported to the parent
            said = f"5\n{type(error).__name__}: {error}"
        with os.fdopen(writing, "w") as pipe:
            pipe.write(said)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        number, _, rest = pipe.read().partition("\n")
    os.waitpid(child, 0)
    if number != "0":
        raise OSError(int(number or 5), rest or "the process that looks has died")
    return [bytes.fromhex(line) for line in rest.split("\n") if line]


def id_map(text: str) -> list[IdMap]:
    """Return the mappings of a uid_map or gid_map file; empty for the identity mapping."""
    rows = [line.split() for line in text.splitlines()]
    mappings = [(int(row[0]), int(row[1]), int(row[2])) for row in rows]
    return [] if mappings == WHOLE else mappings


def inside_of(number: int, mappings: list[IdMap]) -> int:
    """Return the inside id of the outside id `number`; `number` itself without mappings."""
    for inside, outside, count in mappings:
        if outside <= number < outside + count:
            return inside + number - outside
    return number


def host_path(row: MountRow, host: list[MountRow]) -> str:
    """Return the host path of what `row` mounts; "" if the host has none."""
    for mount in host:
        if mount.device != row.device:
            continue
        root = mount.root.rstrip("/")
        if row.root == mount.root or row.root.startswith(root + "/"):
            below = row.root[len(root) :].strip("/")
            return os.path.normpath(os.path.join(mount.point, below))
    return ""


def limit_of(word: str) -> int | None:
    """Return the limit in the text of a cgroup file; None for no limit."""
    number = int(word) if word.isdecimal() and len(word) < 20 else NO_LIMIT
    return number if number < NO_LIMIT else None
