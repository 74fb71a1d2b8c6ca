"""Where LXC has put a container, and what it leaves behind there."""

from __future__ import annotations

from ocirun.cgroups.directories import remove_directories
from ocirun.cgroups.files import read_text
from ocirun.cgroups.paths import UNIFIED, V1_NAMES, own_directory, parse_own, read_table
from ocirun.errors import SetupError, doing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from ocirun.errors import OcirunError

# The container's, and those of lxc-start, which moves itself into the last one or below it when its
# container has ended, and leaves that to nobody.
ENDS: Final = ("", ".monitor", ".pivot/lxc.pivot", ".pivot")


def cgroup_paths_of(pid: int) -> dict[str, str]:
    """Return the directory of `pid` in each hierarchy, as the record of a container has them."""
    with doing(f"reading the cgroups of process {pid}"):
        table = read_table()
        own = parse_own(read_text(f"/proc/{pid}/cgroup"))
    paths: dict[str, str] = {}
    for name in (*V1_NAMES, UNIFIED):
        mount = table.v1_mount(name) if name else table.v2_mount()
        if mount is not None and name in own:
            paths[name] = own_directory(mount, own[name])
    return paths


def remove_cgroups(paths: dict[str, str]) -> list[OcirunError]:
    """Remove what an lxc-start that has ended has left of its and its container's cgroups.

    `paths` are the container's. Returns what could not be removed.
    """
    try:
        remove_directories([path + end for path in set(paths.values()) for end in ENDS])
    except SetupError as error:
        return [error]
    return []
