"""From cgroupsPath to directories of the host, as runc computes them.

containerd, podman and Docker compute the same paths for themselves and read statistics there, so
the rules are fixed: an absolute path hangs below the mount point of each hierarchy, a relative
one (or the container's id, when there is none) below our own cgroup: on v1 the one of each
controller, on v2 its parent, because a cgroup with processes may not have controllers below it.

Source: runtime-spec config-linux.md#cgroups-path; proc_pid_mountinfo(5); cgroups(7).
"""

from __future__ import annotations

import os

from ocirun.cgroups.files import read_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, Final

USUAL_ROOT: Final = "/sys/fs/cgroup"
MOUNT_POINT: Final = 4  # which field of mountinfo; the one before it is the root
UNIFIED: Final = ""  # the name of the v2 hierarchy, as in the `0::` line of /proc/PID/cgroup

# The hierarchies that a container joins. The order is the one in which limits are written.
V1_NAMES: Final = (
    "cpuset",
    "devices",
    "memory",
    "cpu",
    "cpuacct",
    "pids",
    "blkio",
    "hugetlb",
    "net_cls",
    "net_prio",
    "perf_event",
    "freezer",
    "rdma",
    "misc",
    "name=systemd",
)


class CgroupMount:
    """One mounted hierarchy.

    `point` is where, `root` which cgroup of it is seen there, `version` 1 or 2, `options` the
    superblock's options, among which v1 names its controllers.
    """

    __slots__ = ("options", "point", "root", "version")

    def __init__(self, point: str, root: str, version: int, options: list[str]) -> None:
        self.point = point
        self.root = root
        self.version = version
        self.options = options


class Hierarchy:
    """One mounted cgroup hierarchy of the host, and where the container is in it.

    `controllers` as the kernel names them, ("cpu", "cpuacct") or ("name=systemd",); () is the
    unified one. `mount_point`: where the host has it. `path`: the container's cgroup, an absolute
    host path at or below `mount_point`.
    """

    __slots__ = ("controllers", "mount_point", "path")

    def __init__(self, controllers: Sequence[str], mount_point: str, path: str) -> None:
        self.controllers = tuple(controllers)
        self.mount_point = mount_point
        self.path = path

    def body(self) -> list[object]:
        """Return it as JSON: what `Hierarchy(*body)` is made of."""
        return [list(self.controllers), self.mount_point, self.path]


class Table:
    """What this process sees: the mounted hierarchies, and its own cgroup in each.

    `own` has the controller's name, `name=…` for named hierarchies and "" for v2.
    """

    __slots__ = ("_v1", "mounts", "own")

    def __init__(self, mountinfo: str, own_cgroups: str) -> None:
        self.mounts = parse_mountinfo(mountinfo)
        self.own = parse_own(own_cgroups)
        # Speed: asked for every controller, several times. The first mount counts, and one at the
        # usual place before all others.
        self._v1: dict[str, CgroupMount] = {}
        for usual in (True, False):
            for mount in self.mounts:
                if mount.version == 1 and mount.point.startswith(USUAL_ROOT) is usual:
                    for option in mount.options:
                        self._v1.setdefault(option, mount)

    def v1_mount(self, name: str) -> CgroupMount | None:
        """Find where the v1 hierarchy of `name` is mounted; the usual place is preferred."""
        return self._v1.get(name)

    def v2_mount(self) -> CgroupMount | None:
        """Find where the v2 hierarchy is mounted; the usual places are preferred."""
        found = None
        for mount in self.mounts:
            if mount.version == 2:
                if mount.point in (USUAL_ROOT, USUAL_ROOT + "/unified"):
                    return mount
                found = found or mount
        return found


# Speed: the texts of /proc that were read last, and their table, for programs that use the library.
_last: list[Any] = []


def read_table() -> Table:
    """Read the mount table and our own cgroups from /proc, once.

    Raises:
        OSError: /proc is not there.
    """
    texts = read_text("/proc/self/mountinfo"), read_text("/proc/self/cgroup")
    if not _last or _last[0] != texts:
        _last[:] = texts, Table(*texts)
    table: Table = _last[1]
    return table


def parse_mountinfo(text: str) -> list[CgroupMount]:
    """Pick the cgroup mounts out of a mountinfo text.

    On a host with many containers the text is long and few lines matter, so they are searched
    for, not split.
    """
    mounts: list[CgroupMount] = []
    at = text.find(" - cgroup")
    while at >= 0:
        start = text.rfind("\n", 0, at) + 1
        end = text.find("\n", at)
        end = len(text) if end < 0 else end
        fields = text[start:at].split(" ")
        kind, _, rest = text[at + 3 : end].partition(" ")
        if kind in ("cgroup", "cgroup2") and len(fields) > MOUNT_POINT:
            version = 2 if kind == "cgroup2" else 1
            root, point = _plain(fields[MOUNT_POINT - 1]), _plain(fields[MOUNT_POINT])
            options = rest.partition(" ")[2].split(",")
            mounts.append(CgroupMount(point, root, version, options))
        at = text.find(" - cgroup", end)
    return mounts


def _plain(field: str) -> str:
    """Undo the octal escapes of a mountinfo field, which hardly any has."""
    if "\\" not in field:
        return field
    from ocirun.kernel.mountinfo import unescape  # cold

    return unescape(field)


def parse_own(text: str) -> dict[str, str]:
    """Read a /proc/PID/cgroup text: name of each controller or hierarchy to the path in it."""
    own: dict[str, str] = {}
    for line in text.split("\n"):  # not splitlines: a cgroup's name may have a form feed
        _, colon, rest = line.partition(":")
        if not colon:
            continue
        names, _, path = rest.partition(":")
        for name in names.split(","):
            own[name] = path
    return own


def clean(cgroups_path: str) -> str:
    """Normalise a cgroupsPath so that no `..` leads out of where it hangs.

    `../../a` becomes `a`, `/../x/../a` becomes `/a`; the empty path stays empty.
    """
    if not cgroups_path:
        return ""
    absolute = os.path.normpath("/" + cgroups_path)
    absolute = "/" + absolute.lstrip("/")  # POSIX keeps two leading slashes, the kernel does not
    if cgroups_path.startswith("/"):
        return absolute
    return absolute[1:] or "."


def join(base: str, inner: str) -> str:
    """Join two paths lexically; `.` and empty parts disappear."""
    return "/" + os.path.normpath(f"{base}/{inner}").lstrip("/")


def own_directory(mount: CgroupMount, own: str) -> str:
    """Find our own cgroup as seen through `mount`.

    Where the mount shows only a part of the hierarchy (inside another container), paths in
    /proc/self/cgroup start above it; a cgroup outside of what is mounted counts as its top.
    """
    if mount.root == "/":
        below = own
    elif own.startswith(mount.root + "/"):
        below = own[len(mount.root) :]
    else:
        below = "/"
    if below == "/.." or below.startswith("/../"):  # above the root of our cgroup namespace
        below = "/"
    return join(mount.point, below)


def v1_paths(table: Table, cgroups_path: str, container_id: str) -> dict[str, str]:
    """Compute the directory of every v1 hierarchy, and of v2 beside them where it is mounted.

    `cgroups_path` is as in config.json, "" for none. Controllers mounted together share a
    directory. The order of the keys is the order of joining.
    """
    inner = clean(cgroups_path) or clean(container_id)
    paths: dict[str, str] = {}
    for name in (*V1_NAMES, UNIFIED):
        mount = table.v1_mount(name) if name else table.v2_mount()
        own = table.own.get(name)
        if mount is None or own is None:
            continue
        base = mount.point if inner.startswith("/") else own_directory(mount, own)
        paths[name] = join(base, inner)
    return paths


def v2_path(table: Table, cgroups_path: str, container_id: str) -> str:
    """Compute the directory in the v2 hierarchy.

    Raises:
        FileNotFoundError: no v2 hierarchy is mounted.
    """
    mount = table.v2_mount()
    if mount is None:
        raise FileNotFoundError(2, "no cgroup v2 hierarchy is mounted")
    inner = clean(cgroups_path) or clean(container_id)
    if inner.startswith("/"):
        return join(mount.point, inner)
    own = own_directory(mount, table.own.get(UNIFIED, "/"))
    # Order: our own cgroup has processes (us), so it cannot hand controllers to its children.
    parent = own.rpartition("/")[0] if len(own) > len(mount.point) else own
    return join(parent, inner)


def is_unified(paths: dict[str, str]) -> bool:
    """Return whether these are the directories (`Cgroup.paths`) of a cgroup on a v2 host."""
    return list(paths) == [UNIFIED]


def hierarchies_of(table: Table, paths: dict[str, str]) -> list[Hierarchy]:
    """List the v1 hierarchies in `paths`, the directories of a cgroup.

    In the order of the mount table, which is the one runc shows them in; with v2 alone the one
    that it is, without controllers.
    """
    names_of: dict[CgroupMount, list[str]] = {}
    for name in paths:
        if name and (mount := table.v1_mount(name)):
            names_of.setdefault(mount, []).append(name)
    found = [
        Hierarchy(names, mount.point, paths[names[0]])
        for mount in table.mounts
        if (names := names_of.get(mount))
    ]
    if not found and UNIFIED in paths and (mount_v2 := table.v2_mount()):
        found.append(Hierarchy((), mount_v2.point, paths[UNIFIED]))
    return found


def own_hierarchies(table: Table) -> list[Hierarchy]:
    """List the hierarchies with our own cgroup in each, for a container that stays there."""
    paths: dict[str, str] = {}
    for name, own in table.own.items():
        mount = table.v1_mount(name) if name else table.v2_mount()
        if mount is not None:
            paths[name] = own_directory(mount, own)
    return hierarchies_of(table, paths)
