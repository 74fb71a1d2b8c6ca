"""A mount entry, read once, and what it needs to know beyond itself (filled by process/)."""

from __future__ import annotations

from ocirun.rootfs.kernel_mounts import KernelMounts
from ocirun.rootfs.mountpoints import below, clean
from ocirun.spec.mount_options import IDMAP, RIDMAP, read_options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirun.cgroups.paths import Hierarchy
    from ocirun.spec.types import Config, Mount


class Entry:
    """One entry of `mounts`: its clean destination, type ("" if none), source and options.

    `source` of a bind mount is an absolute host path; else what the entry says ("" if nothing).
    `source_in_root`: the path inside the container of a source that lies in the rootfs, else "".
    `index` is its place in `mounts`; `mount` the entry itself.
    """

    __slots__ = (
        "destination",
        "fs_name",
        "index",
        "mount",
        "options",
        "source",
        "source_in_root",
    )

    def __init__(self, mount: Mount, index: int, bundle: str, rootfs: str = "") -> None:
        """Read an entry. `bundle` and `rootfs` are clean absolute host paths.

        With `rootfs`, a destination that begins with it is taken from there on, as in runc.
        """
        self.mount = mount
        self.index = index
        self.options = read_options(mount.get("options"))
        self.destination = clean(mount["destination"])
        self.fs_name = mount.get("type") or ""
        self.source = mount.get("source") or ""
        self.source_in_root = ""
        if self.options.bind and not self.source.startswith("/"):
            # Spec: a relative source of a bind mount is relative to the bundle.
            self.source = f"{bundle}/{self.source}"
        if rootfs:
            self.destination = below(rootfs, self.destination) or self.destination
            if self.options.bind:
                self.source_in_root = below(rootfs, clean(self.source))

    @property
    def is_idmapped(self) -> bool:
        """Whether owners are to be mapped; mappings alone ask for it as the options do."""
        mapped = self.mount.get("uidMappings") or self.mount.get("gidMappings")
        return self.options.extra & (IDMAP | RIDMAP) != 0 or bool(mapped)


def read_entries(config: Config, bundle: str, rootfs: str = "") -> list[Entry]:
    """Read `mounts` of a config.json; `bundle` and `rootfs` are clean absolute host paths."""
    mounts = config.get("mounts") or []
    return [Entry(mount, index, bundle, rootfs) for index, mount in enumerate(mounts)]


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
    `late_sources`: indices of bind mounts whose source is on a mount that an earlier entry makes;
    init opens it, and a descriptor in `source_fds` is the user namespace to map its ids with.
    `deferred` collects what
    finalize.remount_readonly has to make read-only: (mount descriptor, destination).
    `kernel_mounts`: the procfs and sysfs mounts made so far.
    """

    __slots__ = (
        "cgroup",
        "cgroupns",
        "deferred",
        "kernel_mounts",
        "late_sources",
        "mount_label",
        "source_fds",
        "userns",
    )

    def __init__(
        self,
        *,
        userns: bool = False,
        cgroup: CgroupView | None = None,
        cgroupns: bool = False,
        mount_label: str = "",
        source_fds: dict[int, int] | None = None,
    ) -> None:
        self.userns = userns
        self.cgroup = cgroup
        self.cgroupns = cgroupns
        self.mount_label = mount_label
        self.source_fds = source_fds or {}
        self.late_sources: list[int] = []
        self.deferred: list[tuple[int, str]] = []
        self.kernel_mounts = KernelMounts()
