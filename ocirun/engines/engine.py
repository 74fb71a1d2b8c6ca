"""The interface of an engine: what differs between programs that run containers.

A container of an engine has a record and a folder like a native one: `init_process_pid` is a
process of this host that lives as long as the container, `cgroup_paths` is where its processes are,
and the gate (process/gate.py) keeps the program back until `start`.

    create   check, boot (to the gate)
    start    start
    run      the same, then exit_status once the child that boot returned has ended
    kill     kill
    ps       processes
    pause    freeze, thaw
    delete   release, when init is gone

Status, state, list, events, update, top, exec, and the killing of what is deleted go by the record
alone, as for a native container.

Source: docs/engines.md; runtime-spec runtime.md#operations.
"""

from __future__ import annotations

import os

from ocirun.cgroups.choose import known_cgroup
from ocirun.errors import UsageError
from ocirun.process.clone import reap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Final

    from ocirun.cgroups.cgroup import Cgroup
    from ocirun.container.record import Record
    from ocirun.errors import OcirunError
    from ocirun.process.stdio import Stdio
    from ocirun.spec.types import Config

NATIVE: Final = "native"
LXC: Final = "lxc"
VM: Final = "vm"
SIGKILL: Final = 9
ENGINES: Final = (NATIVE, LXC, VM)


def cgroup_of(record: Record) -> Cgroup:
    """Return the container's cgroup; a later one at the same path is left alone."""
    return known_cgroup(record.cgroup_paths, record.cgroup_manager, inode=record.cgroup_inode)


class Process:
    """A child of ours that stands for a process in the container: `pid`, and its pidfd (owned)."""

    __slots__ = ("pid", "pidfd")

    def __init__(self, pid: int, pidfd: int) -> None:
        self.pid = pid
        self.pidfd = pidfd

    def close(self) -> None:
        """Close the pidfd; the process lives on."""
        if self.pidfd >= 0:
            os.close(self.pidfd)
            self.pidfd = -1

    def abandon(self) -> None:
        """Kill and reap it."""
        if self.pidfd < 0:
            return
        from _signal import pidfd_send_signal

        try:
            pidfd_send_signal(self.pidfd, SIGKILL)
        except ProcessLookupError:
            return
        reap(self.pid)


class Engine:
    """One engine. Its methods raise OcirunError, and leave nothing behind when they do.

    `has_own_exec`: a process of exec is run by `execute`, and not by joining namespaces.
    `takes_networks`: its container's network devices are made by us, as for a native one.
    `has_own_processes`: what is in the container's cgroup is the engine's, and gets no signals.
    `takes_filter`: linux.seccomp is compiled for it, to `filter`, before a process is made.
    `tell` writes a debug line; None without --debug.
    """

    name = ""
    tell: Callable[[str], None] | None = None
    has_own_exec = False
    has_own_processes = False
    takes_networks = False
    takes_filter = False
    filter: dict[str, Any] | None = None  # of security.seccomp.program.prepare_filter

    def check(self, config: Config, rootfs: str) -> None:
        """Refuse, before anything is made, a configuration that the engine cannot run.

        Raises:
            UnsupportedError: with the name of each member that it has no counterpart for.
            SetupError: its programs are missing, or may not be used by this user.
        """
        raise NotImplementedError

    def boot(
        self, record: Record, config: Config, stdio: Stdio, connect: Callable[[], None]
    ) -> int:
        """Bring the container to its gate, and fill in pid, start time and cgroups of `record`.

        The program gets `stdio` (borrowed) as its fds 0 to 2, or sends its terminal's master to
        `stdio.console`. `connect` makes the container's networks and runs the hooks of its
        creation. An engine that can calls it before the program is there, with a process in the
        container's network namespace in `record`; otherwise the caller does afterwards. Returns the
        pid of our child that ends with the container.
        """
        raise NotImplementedError

    def start(self, record: Record) -> str | None:
        """Open the gate, and wait until the program runs; return a message if it cannot.

        Raises:
            FileNotFoundError, ConnectionError: as process.gate.open_gate.
        """
        raise NotImplementedError

    def exit_status(self, record: Record, child_status: int) -> int:
        """Return the program's exit status, 128 plus the signal that killed it.

        `child_status` is that of the child that `boot` returned, which has ended.
        """
        raise NotImplementedError

    def kill(self, record: Record, signal: int) -> None:
        """Send `signal` to the init of a container that has been started."""
        raise NotImplementedError

    def check_process(self, config: Config) -> None:
        """Refuse a process of exec that the engine cannot run; it is `config`'s.

        Raises:
            UnsupportedError: with the name of each member that it has no counterpart for.
        """
        raise NotImplementedError

    def execute(self, record: Record, config: Config, stdio: Stdio) -> Process:
        """Run one more process, that of `config`; return what stands for it once it runs.

        `stdio` is as for `boot`. The process that is returned is a child of ours.
        """
        raise NotImplementedError

    def processes(self, record: Record) -> list[int]:
        """Return the host pids of the container's processes, sorted."""
        raise NotImplementedError

    def freeze(self, record: Record) -> None:
        """Stop every process of a container that has been started where it is."""
        raise NotImplementedError

    def thaw(self, record: Record) -> None:
        """Resume every process."""
        raise NotImplementedError

    def release(self, record: Record) -> list[OcirunError]:
        """Remove what is left outside of the folder of a container whose init is gone.

        Returns what could not be removed.
        """
        raise NotImplementedError


def engine_named(name: str) -> Engine:
    """Return the engine `name`, one of ENGINES but native.

    Raises:
        UsageError: no engine has that name.
    """
    if name == LXC:
        from ocirun.engines.lxc.engine import Lxc

        return Lxc()
    if name == VM:
        from ocirun.engines.vm.engine import Vm

        return Vm()
    raise UsageError(f"unknown engine {name!r}: it is one of {', '.join(ENGINES)}")


def engine_of(record: Record) -> Engine:
    """Return the engine of a container that is not native."""
    return engine_named(record.engine)
