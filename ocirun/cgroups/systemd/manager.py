"""The manager: systemd as it is talked to about one unit.

Each act is a call and, where systemd makes a job of it, waiting for the job's end, 30 s at most.

Source: org.freedesktop.systemd1(5).
"""

from __future__ import annotations

import os
import time

from jeepney import DBusAddress

from ocirun.cgroups.systemd.bus import BUS, LIMIT_S, Refused, system_bus, user_bus
from ocirun.cgroups.systemd.names import object_path
from ocirun.errors import OcirunError, Problem, SetupError, UnsupportedError, kernel_words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Any, Final

    from ocirun.cgroups.systemd.bus import Bus

    # name, (D-Bus signature, value)
    Property = tuple[str, tuple[str, object]]

BOOTED: Final = "/run/systemd/system"
SYSTEMD: Final = "org.freedesktop.systemd1"
PATH: Final = "/org/freedesktop/systemd1"
MANAGER: Final = DBusAddress(PATH, SYSTEMD, f"{SYSTEMD}.Manager")
PROPERTIES: Final = "org.freedesktop.DBus.Properties"
PEER: Final = DBusAddress(PATH, SYSTEMD, "org.freedesktop.DBus.Peer")
JOB_REMOVED: Final = (
    f"type='signal',sender='{SYSTEMD}',interface='{SYSTEMD}.Manager',member='JobRemoved'"
)
NO_SUCH_UNIT: Final = (f"{SYSTEMD}.NoSuchUnit", f"{SYSTEMD}.LoadFailed")
UNIT_EXISTS: Final = f"{SYSTEMD}.UnitExists"
READ_ONLY: Final = (
    "org.freedesktop.DBus.Error.PropertyReadOnly",
    "org.freedesktop.DBus.Error.UnknownProperty",
    "System.Error.EROFS",
)
REFUSED_WORDS: Final = "Cannot set property "


class Manager:
    """A systemd manager, the system's or a user's; owns its connection."""

    __slots__ = ("_bus", "_hears_jobs", "is_user")

    def __init__(self, bus: Bus, *, is_user: bool = False) -> None:
        self._bus = bus
        self.is_user = is_user
        self._hears_jobs = False

    def __enter__(self) -> Manager:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Hang up. May be called twice."""
        self._bus.close()

    def owner_uid(self) -> int:
        """Return the uid that the manager runs as, as the bus numbers it.

        Raises:
            SetupError: the bus does not say.
        """
        what = "asking whose systemd this is"
        ask = (BUS, "GetConnectionUnixUser", "s", (SYSTEMD,))
        return int(self._ask(what, lambda: self._bus.call(*ask))[0])

    def control_group(self) -> str:
        """Return the cgroup below which the manager makes all others; "" for the root.

        Raises:
            SetupError: it does not say.
        """
        return self._get(PATH, "Manager", "ControlGroup", "asking systemd for its cgroup")

    def control_group_of(self, unit: str) -> str:
        """Return the cgroup of a unit that runs; "" when it has none.

        Raises:
            SetupError: there is no such unit.
        """
        kind = "Slice" if unit.endswith(".slice") else "Scope"
        return self._get(
            object_path(unit), kind, "ControlGroup", f"asking for the cgroup of {unit}"
        )

    def version(self) -> int:
        """Return the number of systemd's version; 0 when the text begins with none.

        Raises:
            SetupError: it does not say.
        """
        text = self._get(PATH, "Manager", "Version", "asking for the version of systemd")
        number = text.removeprefix("v")
        digits = number[: len(number) - len(number.lstrip("0123456789"))]
        return int(digits or "0")

    def start(self, unit: str, properties: list[Property]) -> None:
        """Start a transient unit and wait until it is there.

        One that has failed before and was left like that is forgotten first.

        Raises:
            SetupError: systemd refused, the job failed, or took too long.
        """
        what = f"starting systemd unit {unit}"
        try:
            self._start(unit, properties, what)
        except Refused as error:
            if error.name != UNIT_EXISTS:
                raise
            self.reset_failed(unit)
            self._start(unit, properties, what)

    def _start(self, unit: str, properties: list[Property], what: str) -> None:
        # Order: "fail" does not replace a job that is under way for a unit of this name.
        body: tuple[Any, ...] = (unit, "fail", properties, [])
        self._run_job("StartTransientUnit", "ssa(sv)a(sa(sv))", body, what)

    def stop(self, unit: str) -> None:
        """Stop a unit and wait for its end; one that is gone is as good.

        Raises:
            SetupError: systemd refused, the job failed, or took too long.
        """
        what = f"stopping systemd unit {unit}"
        try:
            self._run_job("StopUnit", "ss", (unit, "replace"), what)
        except Refused as error:
            if error.name not in NO_SUCH_UNIT:
                raise

    def reset_failed(self, unit: str) -> None:
        """Reset a failed unit; does nothing for any other.

        Raises:
            SetupError: systemd refused.
        """
        what = f"resetting systemd unit {unit}"
        try:
            self._call(what, "ResetFailedUnit", "s", (unit,))
        except Refused as error:
            if error.name not in NO_SUCH_UNIT:
                raise

    def set_properties(self, unit: str, properties: list[Property]) -> None:
        """Set properties of a unit until it goes, and wait until systemd has acted on them.

        Kernel files that are written afterwards are not written again by systemd at once.

        Raises:
            SetupError: systemd refused.
        """
        what = f"setting properties of systemd unit {unit}"
        self._call(what, "SetUnitProperties", "sba(sv)", (unit, True, properties))
        # Order: systemd answers first and writes the cgroup's files before it reads on.
        self._ask(what, lambda: self._bus.call(PEER, "Ping"))

    def attach(self, unit: str, subgroup: str, host_pids: list[int]) -> None:
        """Have systemd move processes into the unit's cgroup, or into `subgroup` (`/a/b`) of it.

        Raises:
            SetupError: systemd refused.
        """
        what = f"moving process {host_pids} into systemd unit {unit}"
        self._call(what, "AttachProcessesToUnit", "ssau", (unit, subgroup, host_pids))

    def _run_job(self, method: str, signature: str, body: tuple[Any, ...], what: str) -> None:
        """Call a method that makes a job, and wait for that.

        Order: subscribe, then call, or the end of a fast job would be missed.
        """
        end = time.monotonic() + LIMIT_S
        if not self._hears_jobs:
            if not self._bus.is_direct:
                self._ask(what, lambda: self._bus.call(BUS, "AddMatch", "s", (JOB_REMOVED,)))
            self._call(what, "Subscribe")
            self._hears_jobs = True
        job = self._call(what, method, signature, body)[0]
        while True:
            _, path, _, result = self._ask(what, lambda: self._bus.wait("JobRemoved", end))
            if path == job:
                break
        if result != "done":
            raise SetupError(f"{what}: the job ended with {result!r}, not with 'done'")

    def _get(self, path: str, interface: str, name: str, what: str) -> str:
        address = DBusAddress(path, SYSTEMD, PROPERTIES)
        body = (f"{SYSTEMD}.{interface}", name)
        return str(self._ask(what, lambda: self._bus.call(address, "Get", "ss", body))[0][1])

    def _call(
        self, what: str, method: str, signature: str = "", body: tuple[Any, ...] = ()
    ) -> tuple[Any, ...]:
        return self._ask(what, lambda: self._bus.call(MANAGER, method, signature, body))

    def _ask(self, what: str, ask: Callable[[], tuple[Any, ...]]) -> tuple[Any, ...]:
        """Return the answer; put `what` before an error."""
        try:
            return ask()
        except Refused as error:
            raise Refused(error.name, f"{what}: {error.words or error.name}") from error
        except TimeoutError as error:
            raise SetupError(f"{what}: no answer within {LIMIT_S} s") from error
        except OSError as error:
            raise SetupError(f"{what}: {kernel_words(error)}", error.errno or 0) from error


def refused_property(error: SetupError, properties: list[Property]) -> str:
    """Return the property that systemd does not know or cannot set; "" when it is not about one."""
    if not isinstance(error, Refused) or error.name not in READ_ONLY:
        return ""
    name = error.words.partition(REFUSED_WORDS)[2].split(",")[0].strip("' ")
    return name if any(name == known for known, _ in properties) else ""


def connect() -> Manager:
    """Connect to the manager that containers of ours belong to.

    Root's are the system's. Everybody else's are those of the own user manager; so is it for who
    is root only in a user namespace, unless that is a machine of its own with a systemd of its own.

    Raises:
        UnsupportedError: systemd does not run here. SetupError: it does not answer.
    """
    if not os.path.isdir(BOOTED):
        message = "systemd is not the init system of this host"
        raise UnsupportedError([Problem("", message, "use --cgroup-manager=cgroupfs")], "host")
    if os.geteuid() != 0:
        return Manager(user_bus(), is_user=True)
    from ocirun.kernel.procstat import is_in_user_namespace

    if is_in_user_namespace():
        try:
            manager = Manager(user_bus(), is_user=True)
        except OcirunError:
            return Manager(system_bus())
        if manager.owner_uid() != 0:
            return manager
        manager.close()
    return Manager(system_bus())
