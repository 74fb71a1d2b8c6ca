"""What a container's cgroup can do, whatever the layout of the host.

    prepare ─► (clone) ─► join or enter ─► apply ─► … freeze, thaw, kill_all … ─► remove
       └────── undo, when create fails: removes only what prepare made ──────┘

`v1/cgroup.py` and `v2/cgroup.py` fill in the layouts; `choose.py` picks one.
"""

from __future__ import annotations

import os
from errno import EACCES, EPERM, EROFS

from ocirun.cgroups.directories import processes_below, remove_directories, remove_unused
from ocirun.cgroups.paths import hierarchies_of
from ocirun.errors import OcirunError, SetupError, doing, kernel_words
from ocirun.kernel.procstat import is_in_user_namespace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from ocirun.cgroups.paths import Hierarchy, Table
    from ocirun.spec.types import DeviceRule, Resources

NOT_ALLOWED: Final = (EACCES, EPERM, EROFS)


class Cgroup:
    """The cgroup of one container: one directory in each hierarchy.

    `paths` is what the container's record keeps: controller (or `name=systemd`, or "" for the v2
    hierarchy) to absolute directory. `manager` is "cgroupfs", "systemd" or "disabled". `rootless`:
    refusals while creating and joining are forgiven as long as nobody asked for limits or for a
    path. `table` is what the host has mounted, for a new one; a container that exists needs none.
    `unit` is systemd's name for it, "" without systemd; `holder` is the host pid of a process
    of ours that is in it until init is, 0 for none.
    `inode` is that of the main directory, 0 where that is not known. Kernel: of a cgroup file
    system it is never reused, so it distinguishes this cgroup from a later one at the same path.
    """

    __slots__ = (
        "explicit",
        "holder",
        "inode",
        "made",
        "manager",
        "paths",
        "rootless",
        "table",
        "unit",
    )

    def __init__(
        self,
        paths: dict[str, str],
        manager: str = "cgroupfs",
        *,
        table: Table | None = None,
        rootless: bool = False,
        explicit: bool = False,
    ) -> None:
        self.paths = paths
        self.table = table
        self.manager = manager
        self.rootless = rootless
        self.explicit = explicit
        self.made: list[str] = []
        self.unit = ""
        self.holder = 0
        self.inode = 0

    def prepare(self, resources: Resources | None) -> None:
        """Make the directories; refuse a cgroup that is frozen or that has processes.

        What it made is remembered for `undo`, and is undone already when it raises.

        Raises:
            SetupError: refused, or the kernel said no.
        """
        try:
            self._prepare(resources or {})
            if directory := self.main_directory():
                with doing(f"looking at cgroup {directory}"):
                    self.inode = os.stat(directory).st_ino
        except BaseException as error:
            try:
                self.undo()
            except OcirunError as second:
                error.add_note(f"and then: {second}")
            raise

    def _prepare(self, resources: Resources) -> None:
        raise NotImplementedError

    def undo(self) -> None:
        """Remove the directories that `prepare` made, and no others. May be called twice.

        Raises:
            SetupError: a process is still in one of them.
        """
        made, self.made = self.made, []
        if not self.is_current():
            return
        own = set(self.paths.values())
        remove_directories([directory for directory in made if directory in own])
        # A parent may have been taken up by another container meanwhile: then it stays.
        remove_unused(directory for directory in reversed(made) if directory not in own)

    def join(self, host_pid: int) -> None:
        """Move the process into every hierarchy.

        Raises:
            SetupError: the kernel refused.
        """
        raise NotImplementedError

    def delegate(self, host_uid: int) -> None:
        """Make `host_uid`, the container's root, the owner of the cgroup, where the driver does so.

        Only systemd promises to leave alone what is below a delegated cgroup.

        Raises:
            SetupError: the kernel refused.
        """

    def open_join_fds(self) -> list[int]:
        """Open what a forked child writes to, to join the v1 hierarchies by itself.

        Returns descriptors that the caller closes, in the child by `enter.enter`; none on v2.
        """
        return []

    def apply(
        self,
        resources: Resources | None,
        userns: bool = False,  # noqa: ARG002
        *,
        implied: list[DeviceRule] | None = None,
    ) -> None:
        """Write the limits, of devices too: without any rule only the implied ones allow some.

        `userns`, a user namespace of the container, changes nothing: device rules hold there too.
        Only where ocirun itself runs in one, the kernel refuses them, and that is forgiven.
        `implied` comes after the config's device rules; None is all that there are.

        Raises:
            SetupError: the kernel refused a value, or a controller that is needed is missing.
            UnsupportedError: this build or this host cannot do it.
        """
        if implied is None:
            from ocirun.spec.devices import DEFAULT_RULES

            implied = DEFAULT_RULES
        resources = resources or {}
        rules = [*(resources.get("devices") or ()), *implied]
        self._write({**resources, "devices": rules}, devices=True)

    def update(self, resources: Resources) -> None:
        """Write the limits of a container that runs; what it may do with devices stays.

        Raises:
            SetupError: as `apply`; or another cgroup is at our path by now.
        """
        if not self.is_current():
            raise SetupError(f"cgroup {self.main_directory()} is another container's by now")
        self._write(resources, devices=False)

    def _write(self, resources: Resources, *, devices: bool) -> None:
        """Write limits; unless `devices`, leave the device rules alone."""
        raise NotImplementedError

    def hierarchies(self) -> list[Hierarchy]:
        """List what the container may be shown.

        In the order of the mount table; v1 hierarchies only, or the v2 one with no controllers.
        Only of a cgroup from `new_cgroup`.
        """
        return hierarchies_of(self.table, self.paths) if self.table else []

    def cgroup_fd(self) -> int | None:
        """Open the v2 directory for CLONE_INTO_CGROUP; None without one.

        Returns a descriptor the caller closes.
        """
        path = self.paths.get("")
        if not path:
            return None
        try:
            return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            what = f"opening cgroup {path}: {kernel_words(error)}"
            raise SetupError(what, error.errno or 0) from error

    def is_frozen(self) -> bool:
        """Return whether the cgroup was paused itself; one below a paused cgroup counts as not."""
        raise NotImplementedError

    def freeze(self) -> None:
        """Stop every process in the cgroup and below, and wait until they stand still.

        Raises:
            SetupError: the kernel refused, or they did not stop in time; then they run again.
        """
        raise NotImplementedError

    def thaw(self) -> None:
        """Thaw the processes.

        Raises:
            SetupError: the kernel refused.
        """
        raise NotImplementedError

    def thaw_below(self) -> bool:
        """Thaw what the container froze of itself, where that would keep it from dying.

        Returns whether anything was frozen. Kernel: only on v1, where SIGKILL waits for the thaw.

        Raises:
            SetupError: the kernel refused.
        """
        return False

    def has_freezer(self) -> bool:
        """Return whether `freeze` can work here."""
        raise NotImplementedError

    def oom_kills(self) -> int:
        """Count the processes that were killed because the memory limit was reached."""
        raise NotImplementedError

    def main_directory(self) -> str:
        """Return the directory that stands for the cgroup; "" when there is none."""
        return next(iter(self.paths.values()), "")

    def is_current(self) -> bool:
        """Return whether our path still leads to this cgroup, and not to a later one.

        Where nothing is there nothing can be hit; if the kernel does not tell, only what is empty.
        """
        if not self.inode:
            return True
        try:
            return os.stat(self.main_directory()).st_ino == self.inode
        except OSError:
            return True

    def processes(self) -> list[int]:
        """Return the host pids in the cgroup and below, sorted."""
        directory = self.main_directory()
        return sorted(processes_below(directory)) if directory else []

    def kill_all(self) -> None:
        """Send SIGKILL to every process in the cgroup and below, frozen or not, until none is left.

        For about a second: what has not died by then (in the middle of a call that cannot be
        interrupted) is left to `remove`, which says so. Never leaves anything frozen. The cgroup
        is opened first, and compared: a later one at the same path is left alone.

        Raises:
            SetupError: the kernel refused.
        """
        from ocirun.cgroups.kill import kill_all  # cold: most end by themselves

        fd = self._open_own()
        if fd < 0:
            return
        try:
            kill_all(self, f"/proc/self/fd/{fd}")
        finally:
            os.close(fd)

    def _open_own(self) -> int:
        """Open the main directory; -1 where it is not there or another's. The caller closes it."""
        directory = self.main_directory()
        with doing(f"opening cgroup {directory}"):
            try:
                fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            except FileNotFoundError:
                return -1
        try:
            with doing(f"looking at cgroup {directory}"):
                is_own = not self.inode or os.fstat(fd).st_ino == self.inode
        except SetupError:
            os.close(fd)
            raise
        if is_own:
            return fd
        os.close(fd)
        return -1

    def remove(self) -> None:
        """Remove the cgroup with all below it; what is gone already is fine.

        A later cgroup at the same path is left alone.

        Raises:
            SetupError: a process is still there after about a second of trying.
        """
        if self.is_current():
            remove_directories(self.directories())
        self.made = []

    def directories(self) -> list[str]:
        """List the directories, each once: controllers mounted together share one."""
        return list(dict.fromkeys(self.paths.values()))

    def forgives(self, error: OSError) -> bool:
        """Return whether this refusal is one that a rootless container lives with."""
        return self.rootless and not self.explicit and error.errno in NOT_ALLOWED

    def forgives_devices(self, error: SetupError) -> bool:
        """Return whether device rules may be refused with this error.

        Kernel: only the root of the machine may set them.
        """
        return error.errno in NOT_ALLOWED and (self.rootless or is_in_user_namespace())
