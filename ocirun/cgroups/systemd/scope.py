"""A container's cgroup as a unit of systemd: on v2, and on v1 in every hierarchy.

Both do what cgroupfs does once systemd has made its part: directories that lack are made, and all
limits are written to the kernel's files as well.

Source: docs/runc-compat/cgroups.md#systemd; kernel admin-guide/cgroup-v2.rst, delegation;
systemd.io/CGROUP_DELEGATION.
"""

from __future__ import annotations

import os
from errno import EACCES, ENOENT, EPERM

from ocirun.cgroups.cgroup import Cgroup
from ocirun.cgroups.files import read_text, set_lines, set_value
from ocirun.cgroups.paths import is_unified
from ocirun.cgroups.systemd.unit import Unit
from ocirun.cgroups.v1.cgroup import CgroupV1
from ocirun.cgroups.v2.cgroup import CgroupV2
from ocirun.errors import OcirunError, SetupError, kernel_words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from ocirun.cgroups.paths import Table
    from ocirun.spec.types import Resources

DELEGATED: Final = "/sys/kernel/cgroup/delegate"
# What old kernels without that list hand over.
USUAL_DELEGATED: Final = ("cgroup.procs", "cgroup.subtree_control", "cgroup.threads")


class SystemdCgroup(Cgroup):
    """A cgroup as a unit of systemd: what is the same for both layouts.

    Before CgroupV1 or CgroupV2 in a class's bases; `driver` is what its own `__slots__` add.
    """

    __slots__ = ()

    driver: Unit

    def _prepare(self, resources: Resources) -> None:
        """Start the unit; where systemd has put it elsewhere than computed, that place counts.

        It writes `_` before names that look like files of the kernel, like `memory.x.scope`.
        """
        made = self.driver.start(resources, unified=is_unified(self.paths))
        self.holder = self.driver.holder_pid
        actual = made.rpartition("/")[2]
        if actual:
            for name, directory in self.paths.items():
                self.paths[name] = f"{directory.rpartition('/')[0]}/{actual}"
        super()._prepare(resources)

    def _release(self) -> None:
        self.holder = 0
        self.driver.release()

    def undo(self) -> None:
        """Stop the unit if it was started, and remove what else was made."""
        if self.driver.started and self.is_current():
            self._stop()
        self.driver.close()
        super().undo()

    def remove(self) -> None:
        """Stop the unit, and remove what is left of its cgroups."""
        if self.is_current():
            self._stop()
        super().remove()

    def _stop(self) -> None:
        """Stop the unit; where systemd cannot be asked any more, the cgroup alone is removed.

        It forgets a unit whose cgroup has gone by itself. What cannot be removed is reported by
        who removes it.
        """
        self.holder = 0
        try:
            self.driver.stop()
        except OcirunError:
            if self.processes():
                raise


class SystemdCgroupV2(SystemdCgroup, CgroupV2):
    """A unit's directory in the v2 hierarchy."""

    __slots__ = ("driver",)

    def _write(self, resources: Resources, *, devices: bool) -> None:
        """Send systemd the limits, then write them, as `Cgroup.apply` and `update` say."""
        from ocirun.cgroups.systemd.deviceallow import device_properties
        from ocirun.cgroups.systemd.properties import unified_properties

        self._release()
        properties = unified_properties(resources)
        if devices:
            properties += device_properties(resources.get("devices") or (), unified=True)
        self.driver.set(properties)
        super()._write(resources, devices=devices)

    def join(self, host_pid: int) -> None:
        """Move the process in; where the kernel refuses that, systemd can do it.

        Kernel: moving a process needs the right to write to the common ancestor of both cgroups,
        which a user lacks between a login session and the user's own units.
        """
        try:
            super().join(host_pid)
        except SetupError as error:
            if error.errno not in (EACCES, EPERM):
                raise
            self.driver.attach(self.directory.partition(f"/{self.unit}")[2], host_pid)

    def delegate(self, host_uid: int) -> None:
        """Make `host_uid` the owner of the directory and of the files that may be delegated.

        Raises:
            SetupError: the kernel refused; a caller without the right to is no error.
        """
        names = ["."]
        try:
            names += read_text(DELEGATED).split()
        except FileNotFoundError:
            names += USUAL_DELEGATED
        for name in names:
            _chown(f"{self.directory}/{name}", host_uid, forgiving=self.rootless)


class SystemdCgroupV1(SystemdCgroup, CgroupV1):
    """A unit's directory in systemd's own hierarchy, and its like in each of the others."""

    __slots__ = ("driver",)

    def _write(self, resources: Resources, *, devices: bool) -> None:
        """Send systemd the limits, then write them, as `Cgroup.apply` and `update` say."""
        from ocirun.cgroups.systemd.deviceallow import device_properties
        from ocirun.cgroups.systemd.properties import split_properties

        self._release()
        properties = split_properties(resources)
        if devices:
            properties += device_properties(resources.get("devices") or (), unified=False)
            self.driver.set(properties)
        elif properties:
            self._set_frozen(properties)
        super()._write(resources, devices=devices)

    def _set_frozen(self, properties: list[tuple[str, tuple[str, object]]]) -> None:
        """Set properties of a container that runs.

        Security: systemd then writes the device rules anew, first none and then those it knows.
        Nothing of the container may run meanwhile, and afterwards they are what they were.
        """
        freezes = self.has_freezer() and not self.is_frozen()
        directory = self.paths.get("devices", "")
        before = read_text(f"{directory}/devices.list") if directory else ""
        if freezes:
            self.freeze()
        try:
            self.driver.set(properties)
            if directory and read_text(f"{directory}/devices.list") != before:
                set_value(directory, "devices.deny", "a")
                set_lines(directory, "devices.allow", before.splitlines())
        finally:
            if freezes:
                self.thaw()


def known_unit(paths: dict[str, str], name: str) -> Cgroup:
    """Return the unit of a container that exists; systemd is not asked yet."""
    return unit_cgroup(dict(paths), Unit(name))


def unit_cgroup(
    paths: dict[str, str],
    driver: Unit,
    *,
    table: Table | None = None,
    rootless: bool = False,
    explicit: bool = False,
) -> SystemdCgroupV2 | SystemdCgroupV1:
    """Return the cgroup at `paths` as the unit `driver`; its layout is that of the paths."""
    kind = SystemdCgroupV2 if is_unified(paths) else SystemdCgroupV1
    cgroup = kind(paths, "systemd", table=table, rootless=rootless, explicit=explicit)
    cgroup.unit = driver.name
    cgroup.driver = driver
    return cgroup


def _chown(path: str, uid: int, *, forgiving: bool) -> None:
    try:
        os.chown(path, uid, -1)
    except OSError as error:
        # Kernel: the list also has files of controllers that this cgroup lacks.
        if error.errno == ENOENT or (forgiving and error.errno == EPERM):
            return
        what = f"giving {path} to uid {uid}: {kernel_words(error)}"
        raise SetupError(what, error.errno or 0) from error
