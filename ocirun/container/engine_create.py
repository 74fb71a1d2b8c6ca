"""Create a container by an engine that is not native; the acts are those of create.py.

Source: docs/engines.md.
"""

from __future__ import annotations

from ocirun.cgroups.choose import known_cgroup
from ocirun.cgroups.none import NoCgroup
from ocirun.container.create import Creation
from ocirun.container.init_process import open_init
from ocirun.container.record import Record
from ocirun.container.syscalls import compile_filter
from ocirun.engines.engine import engine_named
from ocirun.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

CGROUPFS: Final = "cgroupfs"


class EngineCreation(Creation):
    """One create in progress, of an engine's container."""

    def prepare(self) -> None:
        """Check everything, and have the engine refuse what it cannot do."""
        options = self.options
        self.engine = engine_named(options.engine)
        self.engine.tell = options.tell
        name = self.engine.name
        if options.cgroup_manager != CGROUPFS:
            raise UsageError(f"engine {name}: the cgroup manager must be {CGROUPFS}")
        if options.notify_socket:
            raise UsageError(f"engine {name}: readiness cannot be told; unset NOTIFY_SOCKET")
        self.check()
        if self.request.kept_fds:
            raise UsageError(f"engine {name}: file descriptors cannot be passed to the program")
        self.engine.check(self.config, self.request.rootfs)
        if self.engine.takes_filter:
            self.engine.filter = compile_filter(self.config, self.store, options.tell)

    def bring_in(self) -> None:
        """Make the record, then have the engine bring the container to its gate."""
        self.record = Record(self.store.claim(self.id))
        self.undo.add("closing the record", self.record.close)
        self.undo.add("running poststop hooks", self._poststop)
        self.undo.add("removing the state", self._remove_folder)
        self.cgroup = NoCgroup()
        self.record.engine = self.engine.name
        self._remember()
        names = [network.names for network in self.networks if network.names]
        if self.engine.takes_networks and names:
            from ocirun.container.network_files import give_files  # cold

            self.config = give_files(self.config, names, self.record.directory)
        self.undo.add("releasing the engine", lambda: self.engine.release(self.record))
        self.record.child_pid = self.engine.boot(
            self.record, self.config, self.stdio, self._connect
        )
        self.cgroup = known_cgroup(self.record.cgroup_paths, CGROUPFS)
        self.record.write_init()
        self.undo.add("killing the container", self._kill)
        open_init(self.record)
        if not self.has_run:
            self._connect()

    def _connect(self) -> None:
        """Make the networks, if that is not the engine's own affair, and run the first hooks."""
        self.has_run = True
        devices = self.config.get("linux", {}).get("netDevices")
        if self.engine.takes_networks and (devices or self.networks):
            from ocirun.container.connect import connect, open_sides  # cold

            self.network = open_sides(self)
            connect(self, self.network)
        self.run_hooks("prestart")
        self.run_hooks("createRuntime")

    def _kill(self) -> None:
        from ocirun.container.kill import kill_and_wait

        kill_and_wait(self.record)

    def init_pidfd(self) -> int:
        """Return init's pidfd (borrowed)."""
        return self.record.init_pidfd

    def pid(self) -> int:
        """Return the host pid of init."""
        return self.record.init_process_pid

    def pidfd(self) -> int:
        """Return init's pidfd (borrowed)."""
        return self.record.init_pidfd

    def hand_over(self) -> None:
        """Leave the container to others."""
        self.record.directory.unlock()
