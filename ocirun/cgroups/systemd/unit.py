"""A container's unit: how it is started without an init, given properties, and stopped.

    start     a holder, a process that only waits, is put into the new scope: so that is there
    (clone)   init is born in the scope's cgroup, or steps into it
    release   the holder goes, before limits hold and before anything of the container's runs
    stop      the unit is stopped, and forgotten where it was left failed

systemd wants a process for a scope; init cannot be that, because it is to be born inside.

Source: org.freedesktop.systemd1(5), StartTransientUnit; systemd.scope(5).
"""

from __future__ import annotations

from ocirun.errors import SetupError, doing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Final

    from ocirun.cgroups.systemd.manager import Manager, Property
    from ocirun.cgroups.systemd.names import UnitNames
    from ocirun.kernel.holder import Holder
    from ocirun.spec.types import Resources

IDLE_WEIGHT_SINCE: Final = 252
OOM_POLICIES: Final = {"0": "continue", "1": "kill"}


class Unit:
    """One unit, known by its name; `names` and what annotations ask for only while it is made.

    A connection to systemd is open for the length of one act. Security: none is while init is
    cloned, which would inherit it.
    """

    __slots__ = ("_description", "_holder", "_manager", "_names", "_wanted", "name", "started")

    def __init__(self, name: str) -> None:
        self.name = name
        self.started = False
        self._names: UnitNames | None = None
        self._description = name
        self._wanted: list[Property] = []
        self._holder: Holder | None = None
        self._manager: Manager | None = None

    @classmethod
    def new(
        cls, names: UnitNames, container_id: str, annotations: Mapping[str, str], manager: Manager
    ) -> Unit:
        """Get ready to start a unit through `manager`, which now belongs to the unit.

        Raises:
            SpecError: an annotation asks for a property that cannot be.
        """
        from ocirun.cgroups.systemd.annotations import annotated_properties

        unit = cls(names.name)
        unit._names = names
        unit._description = f"ocirun container {container_id}"
        unit._wanted = annotated_properties(annotations)
        unit._manager = manager
        return unit

    @property
    def holder_pid(self) -> int:
        """The host pid of the process that is in the scope for now; 0 when there is none."""
        return self._holder.pid if self._holder else 0

    def start(self, resources: Resources, *, unified: bool) -> str:
        """Start the unit, with the holder in it; return the cgroup that systemd made.

        Raises:
            SetupError: systemd refused; the holder is gone then.
        """
        manager = self._manager or _connect()
        self._manager = None
        with manager:
            try:
                own = self._own_properties(resources, unified=unified)
                self._start(manager, own)
                return manager.control_group_of(self.name)
            except BaseException:
                self.release()
                raise

    def _own_properties(self, resources: Resources, *, unified: bool) -> list[Property]:
        names = self._names
        if names is None:
            raise SetupError(f"starting systemd unit {self.name}: nobody said in which slice")
        io = "IOAccounting" if unified else "BlockIOAccounting"
        counted = ("MemoryAccounting", "CPUAccounting", io, "TasksAccounting")
        properties: list[Property] = [("Description", ("s", self._description))]
        if names.is_slice:
            properties.append(("Wants", ("as", [names.slice])))
        else:
            from ocirun.kernel.holder import Holder

            with doing(f"making a process to hold systemd unit {self.name}"):
                self._holder = Holder()
            properties.append(("Slice", ("s", names.slice)))
            properties.append(("Delegate", ("b", True)))
            properties.append(("PIDs", ("au", [self._holder.pid])))
        properties += [(name, ("b", True)) for name in counted]
        properties.append(("DefaultDependencies", ("b", False)))
        policy = OOM_POLICIES.get((resources.get("unified") or {}).get("memory.oom.group", ""))
        if policy and not names.is_slice:
            properties.append(("OOMPolicy", ("s", policy)))
        return properties

    def _start(self, manager: Manager, own: list[Property]) -> None:
        """Start with our own properties and with those of annotations, which win over ours.

        What this systemd does not know of our own is left out, as the kernel's files have it all;
        what an annotation asked for is not.
        """
        from ocirun.cgroups.systemd.annotations import PREFIX
        from ocirun.cgroups.systemd.bus import Refused
        from ocirun.cgroups.systemd.manager import refused_property

        self.started = True
        wanted = {name for name, _ in self._wanted}
        own = [entry for entry in own if entry[0] not in wanted]
        while True:
            properties = own + self._wanted
            try:
                manager.start(self.name, properties)
            except Refused as error:
                name = refused_property(error, properties)
                if name and name not in wanted:
                    own = [entry for entry in own if entry[0] != name]
                    continue
                # Security: a name that is in use is somebody else's unit, not one to be stopped.
                self.started = False
                if not name:
                    raise
                message = f"{error} (asked for by the annotation {PREFIX}{name})"
                raise SetupError(message, error.errno) from error
            return

    def release(self) -> None:
        """Release the holder. May be called twice."""
        holder, self._holder = self._holder, None
        if holder:
            holder.end()

    def set(self, properties: list[Property]) -> None:
        """Set the limits as properties; those that this systemd does not know are skipped.

        Raises:
            SetupError: systemd refused a value, or does not answer.
        """
        if not properties:
            return
        from ocirun.cgroups.systemd.manager import refused_property

        with _connect() as manager:
            if ("CPUWeight", ("t", 0)) in properties and manager.version() < IDLE_WEIGHT_SINCE:
                properties = [entry for entry in properties if entry[0] != "CPUWeight"]
            while properties:
                try:
                    manager.set_properties(self.name, properties)
                except SetupError as error:
                    name = refused_property(error, properties)
                    if not name:
                        raise
                    properties = [entry for entry in properties if entry[0] != name]
                    continue
                return

    def attach(self, subgroup: str, host_pid: int) -> None:
        """Move a process into the unit's cgroup, or into `subgroup` below it, through systemd.

        Raises:
            SetupError: systemd refused.
        """
        with _connect() as manager:
            manager.attach(self.name, subgroup, [host_pid])

    def stop(self) -> None:
        """Stop the unit and have it forgotten; one that is gone is as good. May be called twice.

        Raises:
            SetupError: systemd does not answer, or the unit does not stop.
        """
        self.release()
        self.close()
        self.started = False
        with _connect() as manager:
            manager.stop(self.name)
            manager.reset_failed(self.name)

    def close(self) -> None:
        """Hang up, where a connection was left open."""
        if self._manager:
            self._manager.close()
            self._manager = None


def _connect() -> Manager:
    """Load the D-Bus client only now: `state` and `kill` of such a container need none."""
    from ocirun.cgroups.systemd.manager import connect

    return connect()
