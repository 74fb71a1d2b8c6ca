"""Cgroup v2: one tree, in which controllers are handed down level by level.

Source: kernel admin-guide/cgroup-v2.rst.
"""

from __future__ import annotations

import os
from errno import EACCES, ENOENT, EPERM

from ocirun.cgroups.cgroup import Cgroup
from ocirun.cgroups.controllers import wanted
from ocirun.cgroups.directories import join_directory, make_directories, members_below
from ocirun.cgroups.files import read_counter, read_value, write_text
from ocirun.cgroups.v2 import freezer
from ocirun.errors import SetupError, kernel_words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from ocirun.cgroups.paths import Table
    from ocirun.spec.types import Resources


# Kernel: these count whole processes and cannot work in a threaded cgroup (cpu can, but runc
# counts it here, and so do we).
DOMAIN_CONTROLLERS: Final = ("memory", "io", "cpu", "hugetlb")

# With less, init is not born in the cgroup but enters it, for which the kernel makes it wait.
TIGHT_BYTES: Final = 8 << 20

# Each controller and the member of linux.resources that it is for, in the order of writing; ""
# stands for what is always written.
CONTROLLERS: Final = (
    ("pids", "pids"),
    ("memory", "memory"),
    ("io", "blockIO"),
    ("cpu", "cpu"),
    ("devices", ""),
    ("cpuset", "cpu"),
    ("hugetlb", "hugepageLimits"),
    ("rdma", "rdma"),
    # Order: last, so that what is written raw wins over what was computed.
    ("unified", "unified"),
)


class CgroupV2(Cgroup):
    """A container's directory in the v2 hierarchy."""

    __slots__ = ("tight", "top")

    def __init__(
        self,
        paths: dict[str, str],
        manager: str = "cgroupfs",
        *,
        table: Table | None = None,
        rootless: bool = False,
        explicit: bool = False,
    ) -> None:
        super().__init__(paths, manager, table=table, rootless=rootless, explicit=explicit)
        mount = table.v2_mount() if table else None
        self.tight = False
        self.top = mount.point if mount else ""

    @property
    def directory(self) -> str:
        """The cgroup; "" when a rootless container could not have one."""
        return self.paths.get("", "")

    def _prepare(self, resources: Resources) -> None:
        directory = self.directory
        self.tight = 0 < ((resources.get("memory") or {}).get("limit") or 0) < TIGHT_BYTES
        try:
            is_new = self._make(directory, resources)
        except OSError as error:
            what = f"making cgroup {directory}: {kernel_words(error)}"
            if not self.forgives(error):
                raise SetupError(what, error.errno or 0) from error
            if any(name != "devices" for name, _ in wanted("v2", CONTROLLERS, resources)):
                rule = "rootless needs no limits + no cgrouppath when no permission is granted"
                raise SetupError(f"{rule} for cgroups: {what}", error.errno or 0) from error
            self.paths.clear()  # the record of the container has the same dict
            return
        if not is_new:
            self._refuse_used()

    def _make(self, directory: str, resources: Resources) -> bool:
        """Make what lacks from the top down, handing down controllers on the way."""
        is_new = False
        level = self.top
        for part in directory[len(self.top) :].strip("/").split("/"):
            if not part:
                continue
            # Order: controllers of the parent first: they decide which files the child gets.
            enable_controllers(level)
            level = f"{level}/{part}"
            is_new = make_directories(level, self.top, self.made)
            _check_type(level, resources)
        return is_new

    def _refuse_used(self) -> None:
        """Security: two containers in one cgroup would be limited, paused and killed together."""
        if self.is_frozen():
            raise SetupError("container's cgroup unexpectedly frozen")
        if pids := [pid for pid in members_below(self.directory) if pid != self.holder]:
            count = len(pids)
            raise SetupError(f"container's cgroup is not empty: {count} process(es) found")

    def join(self, host_pid: int) -> None:
        """Move the process in, as `Cgroup.join` says."""
        if self.directory:
            join_directory(self.directory, "cgroup.procs", host_pid)

    def cgroup_fd(self) -> int | None:
        """Open the directory to be born in, as `Cgroup.cgroup_fd` says, unless memory is tight."""
        return None if self.tight else super().cgroup_fd()

    def open_join_fds(self) -> list[int]:
        """Open `cgroup.procs`, for init to enter later, where memory is tight.

        Kernel: memory counts where it was first used. What init needs to understand its config it
        uses before it enters; with 1 MiB it would be killed for that otherwise.
        """
        if not (self.tight and self.directory):
            return []
        path = f"{self.directory}/cgroup.procs"
        try:
            return [os.open(path, os.O_WRONLY | os.O_CLOEXEC)]
        except OSError as error:
            what = f"opening cgroup {path}: {kernel_words(error)}"
            raise SetupError(what, error.errno or 0) from error

    def _write(self, resources: Resources, *, devices: bool) -> None:
        """Write the limits, as `Cgroup.apply` and `Cgroup.update` say."""
        for name, controller in wanted("v2", CONTROLLERS, resources):
            if name == "devices" and not (devices and (self.directory or not self.rootless)):
                continue
            if not self.directory:
                message = "container could not join or create cgroup"
                raise SetupError(f"cannot set {name} limit: {message}")
            try:
                controller.apply(self.directory, resources)
            except SetupError as error:
                if name == "devices" and self.forgives_devices(error):
                    continue
                if error.errno in (ENOENT, EACCES, EPERM) and self._lacks(name):
                    message = f"cannot set {name} limit: controller {name} not available"
                    raise SetupError(message, error.errno) from error
                raise

    def _lacks(self, name: str) -> bool:
        if name in ("devices", "unified"):
            return False
        return name not in read_value(self.directory, "cgroup.controllers").split()

    def is_frozen(self) -> bool:
        """Return whether this very cgroup is paused, as `Cgroup.is_frozen` says."""
        return bool(self.directory) and freezer.is_frozen(self.directory)

    def freeze(self) -> None:
        """Stop every process, as `Cgroup.freeze` says."""
        if not self.directory:
            raise SetupError("freezing the container: it has no cgroup")
        freezer.freeze(self.directory)

    def thaw(self) -> None:
        """Thaw the processes, as `Cgroup.thaw` says."""
        if self.directory:
            freezer.thaw(self.directory)

    def has_freezer(self) -> bool:
        """Return True: every v2 cgroup but the root can be frozen (from 5.2)."""
        return bool(self.directory)

    def oom_kills(self) -> int:
        """Count OOM kills, as `Cgroup.oom_kills` says."""
        return read_counter(self.directory, "memory.events", "oom_kill") if self.directory else 0


def enable_controllers(directory: str) -> None:
    """Enable every controller that `directory` has for its children, as far as allowed.

    A controller that cannot be enabled is no error here, but when a limit needs it.

    Raises:
        OSError: the files are not there: no cgroup v2.
    """
    has = read_value(directory, "cgroup.controllers").split()
    given = read_value(directory, "cgroup.subtree_control").split()
    lacking = [f"+{name}" for name in has if name not in given]
    if not lacking or _enable(directory, " ".join(lacking)):
        return
    if len(lacking) > 1:
        for word in lacking:
            _enable(directory, word)


def _enable(directory: str, words: str) -> bool:
    try:
        write_text(f"{directory}/cgroup.subtree_control", words)
    except OSError:
        # Kernel: EBUSY when the cgroup has processes itself, EACCES or EROFS without the right,
        # ENOENT for a controller that was taken away meanwhile.
        return False
    return True


def _check_type(directory: str, resources: Resources) -> None:
    """Make a cgroup below a threaded one usable, where its limits allow it.

    Kernel: such a cgroup is born `domain invalid` and holds no process until it is made threaded.

    Raises:
        SetupError: it has limits that a threaded cgroup cannot have.
    """
    kind = read_value(directory, "cgroup.type")
    if kind == "domain":
        return
    if any(name in DOMAIN_CONTROLLERS for name, _ in wanted("v2", CONTROLLERS, resources)):
        state = "an invalid state" if kind == "domain invalid" else f"{kind} mode"
        message = "cannot enter cgroupv2"
        raise SetupError(f"{message} {directory!r} with domain controllers -- it is in {state}")
    if kind == "domain invalid":
        write_text(f"{directory}/cgroup.type", "threaded")
