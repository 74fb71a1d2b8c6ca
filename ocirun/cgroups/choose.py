"""Which cgroups this host has, and the object that drives them.

Four layouts: v1 (one tree for each controller), v2 (one tree), hybrid (v1 with a v2 tree beside
it, driven as v1) and none.
"""

from __future__ import annotations

from ocirun.cgroups.paths import USUAL_ROOT, is_unified, read_table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from ocirun.cgroups.cgroup import Cgroup
    from ocirun.cgroups.paths import Table


def layout(table: Table | None = None) -> str:
    """Return the layout of the host: "v1", "v2", "hybrid" or "none".

    A v2 tree at /sys/fs/cgroup itself decides: v1 trees elsewhere then belong to another program.
    """
    mounts = (table or read_table()).mounts
    if any(mount.version == 2 and mount.point == USUAL_ROOT for mount in mounts):
        return "v2"
    versions = {mount.version for mount in mounts}
    if versions == {1, 2}:
        return "hybrid"
    return {1: "v1", 2: "v2"}[versions.pop()] if versions else "none"


def new_cgroup(
    cgroups_path: str | None,
    container_id: str,
    manager: str,
    *,
    rootless: bool = False,
    table: Table | None = None,
    annotations: Mapping[str, str] | None = None,
) -> Cgroup:
    """Choose where a new container's cgroup will be; nothing is made yet.

    `cgroups_path` is linux.cgroupsPath, `manager` "cgroupfs", "systemd" or "disabled". `table` is
    what the host has mounted, read from /proc when it is not given. A host without any cgroups
    gives a cgroup without paths, which refuses limits when they are applied. `annotations` are
    those of config.json, some of which are for systemd.

    Raises:
        SpecError, UnsupportedError, SetupError: with "systemd" only, as new_unit says.
    """
    if manager == "disabled":
        from ocirun.cgroups.none import NoCgroup

        return NoCgroup()
    table = table or read_table()
    unified = layout(table) == "v2"
    if manager == "systemd":
        from ocirun.cgroups.systemd.choose import new_unit

        path, named = cgroups_path or "", annotations or {}
        return new_unit(path, container_id, named, table, unified=unified, rootless=rootless)
    explicit = bool(cgroups_path)
    if unified:
        from ocirun.cgroups.paths import v2_path
        from ocirun.cgroups.v2.cgroup import CgroupV2

        path = v2_path(table, cgroups_path or "", container_id)
        return CgroupV2({"": path}, table=table, rootless=rootless, explicit=explicit)
    from ocirun.cgroups.paths import v1_paths
    from ocirun.cgroups.v1.cgroup import CgroupV1

    paths = v1_paths(table, cgroups_path or "", container_id)
    return CgroupV1(paths, table=table, rootless=rootless, explicit=explicit)


def known_cgroup(paths: dict[str, str], manager: str, unit: str = "", *, inode: int = 0) -> Cgroup:
    """Return the cgroup of a container that exists, from what its record says.

    Nothing is read from the host: only the paths decide. `unit` is systemd's name for it. `inode`
    is that of its main directory, 0 if unknown: a later cgroup at the same path is left alone.
    """
    cgroup = _known(paths, manager, unit)
    cgroup.inode = inode
    return cgroup


def _known(paths: dict[str, str], manager: str, unit: str) -> Cgroup:
    if manager == "disabled":
        from ocirun.cgroups.none import NoCgroup

        return NoCgroup()
    if manager == "systemd":
        from ocirun.cgroups.systemd.scope import known_unit

        return known_unit(paths, unit)
    if is_unified(paths):
        from ocirun.cgroups.v2.cgroup import CgroupV2

        return CgroupV2(dict(paths))
    from ocirun.cgroups.v1.cgroup import CgroupV1

    return CgroupV1(dict(paths))
