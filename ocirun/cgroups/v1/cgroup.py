"""Cgroup v1: one tree for each controller, and the container has a directory in all of them.

A hybrid host's v2 tree is joined like one more of them, so that processes can be found and killed
there; limits go to v1.

Source: kernel admin-guide/cgroup-v1/cgroups.rst.
"""

from __future__ import annotations

import os
from errno import EACCES, EBUSY, EINVAL, ENODEV, ENOENT, EOPNOTSUPP, EPERM, EROFS

from ocirun.cgroups.cgroup import Cgroup
from ocirun.cgroups.controllers import wanted
from ocirun.cgroups.directories import join_directory, make_directories, members_below
from ocirun.cgroups.files import read_counter
from ocirun.cgroups.paths import UNIFIED
from ocirun.cgroups.v1 import freezer
from ocirun.errors import SetupError, kernel_words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from ocirun.spec.types import Resources


# A tree that limits nothing may refuse us and the container still runs.
REFUSALS: Final = (EACCES, EBUSY, EINVAL, ENODEV, ENOENT, EOPNOTSUPP, EPERM, EROFS)

# Each controller and the member of linux.resources that it is for, in the order of writing; ""
# stands for what is always written.
CONTROLLERS: Final = (
    ("cpuset", "cpu"),
    ("devices", ""),
    ("memory", "memory"),
    ("cpu", "cpu"),
    ("pids", "pids"),
    ("blkio", "blockIO"),
    ("hugetlb", "hugepageLimits"),
    ("net_cls", "network"),
    ("net_prio", "network"),
    ("rdma", "rdma"),
)


class CgroupV1(Cgroup):
    """A container's directories in the v1 hierarchies."""

    __slots__ = ()

    def _top(self, name: str) -> str:
        """Find the mount point of a hierarchy, above which nothing may be made."""
        if self.table is None:
            return ""
        mount = self.table.v1_mount(name) if name else self.table.v2_mount()
        return mount.point if mount else ""

    def _prepare(self, resources: Resources) -> None:
        found: list[str] = []
        known: set[str] = set()
        for name, directory in list(self.paths.items()):
            if directory in known:
                continue
            known.add(directory)
            try:
                if name == "cpuset":
                    from ocirun.cgroups.v1 import cpuset

                    is_new = cpuset.prepare(directory, self._top(name), self.made, resources)
                else:
                    is_new = make_directories(directory, self._top(name), self.made)
            except OSError as error:
                if not self._is_forgiven(name, error):
                    what = f"making cgroup {directory}: {kernel_words(error)}"
                    raise SetupError(what, error.errno or 0) from error
                self._leave_out(directory)
                continue
            if not is_new:
                found.append(directory)
        self._refuse_used(found)
        if "cpu" in self.paths and resources.get("cpu"):
            from ocirun.cgroups.v1 import cpu

            cpu.set_realtime(self.paths["cpu"], resources)

    def _refuse_used(self, found: list[str]) -> None:
        """Security: two containers in one cgroup would be limited, paused and killed together.

        Only directories that were there before are looked at; new ones are empty.
        """
        if self.paths.get("freezer") in found and self.is_frozen():
            raise SetupError("container's cgroup unexpectedly frozen")
        for directory in found:
            pids = [pid for pid in members_below(directory) if pid != self.holder]
            if pids:
                count = len(pids)
                raise SetupError(f"container's cgroup is not empty: {count} process(es) found")

    def _is_forgiven(self, name: str, error: OSError) -> bool:
        if name == UNIFIED or name.startswith("name="):
            return error.errno in REFUSALS
        return self.forgives(error)

    def _leave_out(self, directory: str) -> None:
        for name in [name for name, path in self.paths.items() if path == directory]:
            del self.paths[name]

    def join(self, host_pid: int) -> None:
        """Move the process into every hierarchy, as `Cgroup.join` says.

        Kernel: slow where the machine is idle, see `ocirun.cgroups.enter` for the better way.
        """
        for name, directory in self._directories():
            try:
                join_directory(directory, "cgroup.procs", host_pid)
            except SetupError as error:
                cause = error.__cause__
                if not isinstance(cause, OSError) or not self._is_forgiven(name, cause):
                    raise
                self._leave_out(directory)

    def open_join_fds(self) -> list[int]:
        """Open `tasks` of every v1 hierarchy; the v2 tree beside them is for `cgroup_fd`.

        Returns descriptors that the caller closes, in the child by `enter.enter`.

        Raises:
            SetupError: the kernel refused to open one.
        """
        join_fds: list[int] = []
        try:
            for name, directory in self._directories():
                if name != UNIFIED:
                    join_fds.append(os.open(f"{directory}/tasks", os.O_WRONLY | os.O_CLOEXEC))
        except OSError as error:
            for fd in join_fds:
                os.close(fd)
            what = f"opening cgroup {error.filename}: {kernel_words(error)}"
            raise SetupError(what, error.errno or 0) from error
        return join_fds

    def _directories(self) -> list[tuple[str, str]]:
        """List each directory once, with the first name it has."""
        names: dict[str, str] = {}
        for name, directory in self.paths.items():
            names.setdefault(directory, name)
        return [(name, directory) for directory, name in names.items()]

    def _write(self, resources: Resources, *, devices: bool) -> None:
        """Write the limits, as `Cgroup.apply` and `Cgroup.update` say."""
        if resources.get("unified"):
            raise SetupError(
                "setting linux.resources.unified: cgroup v2 is not in use on this host"
            )
        for name, controller in wanted("v1", CONTROLLERS, resources):
            if name == "devices" and not devices:
                continue
            directory = self.paths.get(name)
            if directory is None:
                if name == "devices" and self.rootless:
                    continue
                message = "container could not join or create cgroup"
                raise SetupError(f"cannot set {name} limit: {message}")
            try:
                controller.apply(directory, resources)
            except SetupError as error:
                if not (name == "devices" and self.forgives_devices(error)):
                    raise

    def update(self, resources: Resources) -> None:
        """Write the limits, as `Cgroup.update` says; false gives back an OOM killer too."""
        super().update(resources)
        if (resources.get("memory") or {}).get("disableOOMKiller") is False:
            from ocirun.cgroups.v1 import memory

            if directory := self.paths.get("memory"):
                memory.enable_killer(directory)

    def _freezer(self) -> str:
        directory = self.paths.get("freezer")
        if directory is None:
            raise SetupError("freezing the container: the freezer cgroup is not mounted")
        return directory

    def is_frozen(self) -> bool:
        """Return whether this very cgroup is paused, as `Cgroup.is_frozen` says."""
        directory = self.paths.get("freezer")
        return directory is not None and freezer.is_frozen(directory)

    def freeze(self) -> None:
        """Stop every process, as `Cgroup.freeze` says."""
        freezer.freeze(self._freezer())

    def thaw(self) -> None:
        """Thaw the processes, as `Cgroup.thaw` says."""
        freezer.thaw(self._freezer())

    def thaw_below(self) -> bool:
        """Thaw the cgroups that the container made below its own, as `Cgroup.thaw_below` says."""
        directory = self.paths.get("freezer")
        return directory is not None and freezer.thaw_below(directory)

    def has_freezer(self) -> bool:
        """Return whether the freezer hierarchy is mounted."""
        return "freezer" in self.paths

    def oom_kills(self) -> int:
        """Count OOM kills, as `Cgroup.oom_kills` says."""
        directory = self.paths.get("memory")
        return read_counter(directory, "memory.oom_control", "oom_kill") if directory else 0

    def main_directory(self) -> str:
        """Return the directory that stands for the cgroup; "" when there is none.

        Devices comes first, as in runc: it is the hierarchy that a container can least well leave.
        """
        for name in ("devices", "freezer", "pids", "memory", *self.paths):
            if name in self.paths:
                return self.paths[name]
        return ""
