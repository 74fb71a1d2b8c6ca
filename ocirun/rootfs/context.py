"""A mount entry as it was read, and what it needs to know beyond itself (filled by process/)."""

from __future__ import annotations

from ocirun.rootfs.kernel_mounts import KernelMounts
from ocirun.rootfs.mountpoints import clean
from ocirun.spec.mount_options import IDMAP, RIDMAP

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirun.spec.mount_options import MountOptions
    from ocirun.spec.types import Mount


class Entry:
    """One entry of `mounts`: its clean destination, type ("" if none), source and words.

    `source` of a bind mount is an absolute host path; else what the entry says ("" if nothing).
    `index` is its place in `mounts`; `mount` the entry itself.
    """

    __slots__ = ("destination", "fs_name", "index", "mount", "source", "words")

    def __init__(self, mount: Mount, words: MountOptions, bundle: str, index: int) -> None:
        self.mount = mount
        self.words = words
        self.index = index
        self.destination = clean(mount["destination"])
        self.fs_name = mount.get("type") or ""
        self.source = mount.get("source") or ""
        if words.bind and not self.source.startswith("/"):
            # Spec: a relative source of a bind mount is relative to the bundle.
            self.source = f"{bundle}/{self.source}"

    @property
    def is_idmapped(self) -> bool:
        """Whether owners are to be mapped; mappings alone ask for it as the words do."""
        return self.words.extra & (IDMAP | RIDMAP) != 0 or bool(self.mount.get("uidMappings"))


class Hierarchy:
    """One mounted cgroup hierarchy of the host, and where the container is in it.

    `controllers` as the kernel names them, ("cpu", "cpuacct") or ("name=systemd",); () is the
    unified one. `mount_point`: where the host has it. `path`: the container's cgroup, an absolute
    host path at or below `mount_point`.
    """

    __slots__ = ("controllers", "mount_point", "path")

    def __init__(self, controllers: tuple[str, ...], mount_point: str, path: str) -> None:
        self.controllers = controllers
        self.mount_point = mount_point
        self.path = path


class CgroupView:
    """What the container may see of the host's cgroups.

    `unified`: the host is v2 alone, and `hierarchies` holds that one. Else they are those of v1,
    in the order they are to appear; the empty unified tree of a hybrid host is not among them.
    """

    __slots__ = ("hierarchies", "unified")

    def __init__(self, hierarchies: list[Hierarchy], unified: bool) -> None:
        self.hierarchies = hierarchies
        self.unified = unified


class MountContext:
    """The circumstances of all mounts of one container.

    `userns`: the container has a user namespace of its own. `cgroupns`: a cgroup namespace.
    `mount_label`: SELinux label for file systems, "" for none. `source_fds`: detached mounts the
    parent has opened for entries, by index in `mounts`; used up (closed) by their entry.
    `bundle`: absolute host path that relative bind sources start from. `deferred` collects what
    finalize.remount_readonly has to make read-only: (mount descriptor, destination).
    `kernel_mounts`: the procfs and sysfs mounts made so far.
    """

    __slots__ = (
        "bundle",
        "cgroup",
        "cgroupns",
        "deferred",
        "kernel_mounts",
        "mount_label",
        "source_fds",
        "userns",
    )

    def __init__(
        self,
        bundle: str,
        *,
        userns: bool = False,
        cgroup: CgroupView | None = None,
        cgroupns: bool = False,
        mount_label: str = "",
        source_fds: dict[int, int] | None = None,
    ) -> None:
        self.bundle = bundle
        self.userns = userns
        self.cgroup = cgroup
        self.cgroupns = cgroupns
        self.mount_label = mount_label
        self.source_fds = source_fds or {}
        self.deferred: list[tuple[int, str]] = []
        self.kernel_mounts = KernelMounts()
