"""The interface of engines, on a machine: `init_process_pid` is the monitor's (monitor.py).

Source: docs/vm.md.
"""

from __future__ import annotations

import os

from ocirun.cgroups.choose import new_cgroup
from ocirun.engines.engine import SIGKILL, VM, Engine, cgroup_of
from ocirun.engines.vm.config import (
    bind_entries,
    boot_seconds,
    host_resources,
    refuse,
    setup_frames,
)
from ocirun.engines.vm.control import send_signal
from ocirun.engines.vm.execution import control_terminal, execute, fork, stdio_of
from ocirun.engines.vm.failure import FAILURE, TRACEBACK
from ocirun.engines.vm.machine import hardware_of
from ocirun.engines.vm.monitor import Monitor
from ocirun.engines.vm.network import open_namespace, part_devices
from ocirun.engines.vm.order import Order
from ocirun.engines.vm.program import program_payload
from ocirun.errors import SetupError, doing, warn, what_failed
from ocirun.kernel.procstat import start_time
from ocirun.process.gate import GO, make_gate, open_gate
from ocirun.spec.devices import DEFAULT_RULES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final

    from ocirun.cgroups.cgroup import Cgroup
    from ocirun.container.record import Record
    from ocirun.engines.engine import Process
    from ocirun.errors import OcirunError
    from ocirun.process.stdio import Stdio
    from ocirun.spec.types import Config, DeviceRule

HYPERVISOR_PID: Final = "org.ocirun.vm.pid"
KVM_RULE: Final[DeviceRule] = {
    "allow": True,
    "type": "c",
    "major": 10,
    "minor": 232,
    "access": "rw",
}


class Vm(Engine):
    """Containers that are virtual machines."""

    name = VM
    takes_networks = True
    takes_filter = True
    has_own_exec = True
    has_own_processes = True

    def check(self, config: Config, rootfs: str) -> None:
        """Refuse what a machine cannot have, and a host without QEMU or a kernel."""
        del rootfs
        if os.geteuid() != 0:
            raise SetupError("the vm engine needs root")
        refuse(config)
        hardware_of(config)

    def boot(
        self, record: Record, config: Config, stdio: Stdio, connect: Callable[[], None]
    ) -> int:
        """Start the monitor, and wait until the guest is at the gate."""
        order = Order(
            hardware_of(config),
            record.rootfs,
            readonly=bool(config["root"].get("readonly")),
            binds=bind_entries(config, record.bundle),
            setup=setup_frames(config),
            program=self._program(config, record),
            boot_s=boot_seconds(config),
            network=open_namespace(config),
        )
        try:
            return self._boot(record, config, stdio, order, connect)
        finally:
            if order.network >= 0:
                os.close(order.network)

    def _boot(
        self,
        record: Record,
        config: Config,
        stdio: Stdio,
        order: Order,
        connect: Callable[[], None],
    ) -> int:
        cgroup = new_cgroup(config.get("linux", {}).get("cgroupsPath"), record.id, "cgroupfs")
        # Order: known before they are made, in case we die.
        record.cgroup_paths = cgroup.paths
        record.write()
        cgroup.prepare(host_resources(config))
        try:
            record.cgroup_inode = cgroup.inode
            cgroup.apply(host_resources(config), implied=[*DEFAULT_RULES, KVM_RULE])
            return self._start(record, config, stdio, order, cgroup, connect=connect)
        except BaseException:
            cgroup.kill_all()
            cgroup.undo()
            record.cgroup_paths = {}
            raise

    def _start(
        self,
        record: Record,
        config: Config,
        stdio: Stdio,
        order: Order,
        cgroup: Cgroup,
        *,
        connect: Callable[[], None],
    ) -> int:
        order.gate = make_gate(record.directory.fd)
        order.go, go = os.pipe2(os.O_CLOEXEC)
        try:
            order.fds = stdio_of(config["process"], stdio)
            kept = [*order.gate, *order.fds, order.go, order.network, record.directory.fd]

            def be_monitor(report: int) -> int:
                cgroup.join(os.getpid())
                control_terminal(order.fds)
                return Monitor(order, record.directory, report).run()

            def in_namespaces(pid: int, pidfd: int) -> None:
                record.init_pidfd = pidfd
                record.init_process_pid = pid
                record.init_process_start = start_time(pid) or 0
                connect()
                os.write(go, GO)

            pid, _, report = fork(be_monitor, kept, in_namespaces)
        except BaseException:
            record.init_pidfd = -1  # it was fork's
            raise
        finally:
            for fd in (*order.gate, *order.fds, order.go, go):
                os.close(fd)
        hypervisor, *notes = report.splitlines()
        if self.tell:
            for note in notes:
                self.tell(f"vm: {note}")
        record.annotations = {**record.annotations, HYPERVISOR_PID: hypervisor}
        record.write()
        return pid

    def start(self, record: Record) -> str | None:
        """Open the gate: the monitor answers as an init does."""
        return open_gate(record.directory.fd)

    def exit_status(self, record: Record, child_status: int) -> int:
        """Return the monitor's status; warn of what has ended the machine, if not the program."""
        if failure := record.directory.read(FAILURE):
            warn(f"container {record.id}: {os.fsdecode(failure)}")
        if self.tell and (traceback := record.directory.read(TRACEBACK)):
            self.tell(os.fsdecode(traceback))
        return child_status

    def kill(self, record: Record, signal: int) -> None:
        """Send a signal to the container's process; SIGKILL ends the machine."""
        if signal == SIGKILL:
            _kill_monitor(record)
        elif signal:
            send_signal(record.directory, signal)

    def processes(self, record: Record) -> list[int]:
        """Return the processes of the machine on this host."""
        return cgroup_of(record).processes()

    def freeze(self, record: Record) -> None:
        """Freeze the machine."""
        cgroup_of(record).freeze()

    def thaw(self, record: Record) -> None:
        """Thaw the machine."""
        cgroup_of(record).thaw()

    def check_process(self, config: Config) -> None:
        """Refuse what a process in a machine cannot have."""
        refuse(config)

    def execute(self, record: Record, config: Config, stdio: Stdio) -> Process:
        """Run one more process in the guest."""
        return execute(record, config["process"], self._program(config, record), stdio)

    def _program(self, config: Config, record: Record) -> bytes:
        personality = config.get("linux", {}).get("personality")
        return program_payload(config["process"], record.rootfs, self.filter, personality)

    def release(self, record: Record) -> list[OcirunError]:
        """Wait for the processes of a machine whose monitor is gone; part it from its network."""
        try:
            cgroup_of(record).kill_all()
            part_devices(record.directory)
        except SetupError as error:
            return [error]
        except OSError as error:
            return [SetupError(what_failed(error), error.errno or 0)]
        return []


def _kill_monitor(record: Record) -> None:
    from _signal import pidfd_send_signal

    with doing("unable to signal init"):
        try:
            pidfd = os.pidfd_open(record.init_process_pid)
        except ProcessLookupError:
            return
        try:
            if start_time(record.init_process_pid) == record.init_process_start:
                pidfd_send_signal(pidfd, SIGKILL)
        except ProcessLookupError:
            return
        finally:
            os.close(pidfd)
