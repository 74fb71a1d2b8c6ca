"""The process of ours that a machine belongs to: its parent, and what the host sees of it.

    create ─ clone ─► monitor
       │ ◄── b"n" ──────────── │ in its namespaces: the network is made there, hooks run
       │ ─── go ─────────────► ├─ virtiofsd, QEMU
       │                       │ ◄── HELLO ── guest         unless it is restored (restore.py)
       │                       │ ── SEED ──►
       │                       │ ◄── SEEDED ──
       │                       │ ─ setup, PROCESS ─►
       │ ◄── b"1 PID" ──────── │ ◄── READY ──
     start ── gate ──────────► │ ── GO ─►
       │ ◄── end of file ───── │ ◄── STARTED ──
                               │ ◄── EXIT ── and ends with that status

It lives as long as the container, so its pid is the container's, and its exit status that of the
program. When it dies, QEMU is killed.

Source: docs/vm.md#processes.
"""

from __future__ import annotations

import _signal
import os
import select
import time

from ocirun.engines.vm import frames
from ocirun.engines.vm.console import Console
from ocirun.engines.vm.control import Connection, answer, listen
from ocirun.engines.vm.failure import FAILURE, TRACEBACK, sentence_of, traceback_of
from ocirun.engines.vm.frames import BadFrame
from ocirun.engines.vm.machine import Machine
from ocirun.engines.vm.network import Taps, enter_namespace, make_taps, part_devices
from ocirun.engines.vm.qemu import open_image
from ocirun.engines.vm.qmp import QmpError
from ocirun.engines.vm.restore import restore
from ocirun.engines.vm.saved import SavedState
from ocirun.engines.vm.session import Session
from ocirun.engines.vm.share import make_share
from ocirun.engines.vm.signals import forward_signals
from ocirun.errors import OcirunError, SetupError, doing
from ocirun.kernel.prctl import set_pdeathsig
from ocirun.process.gate import GO

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final

    from ocirun.container.folder import Folder
    from ocirun.engines.vm.order import Order
    from ocirun.engines.vm.qemu import Hardware

SHARE: Final = "share"
READY: Final = b"1 "
IN_NAMESPACES: Final = b"n"
AGENT_BYTES: Final = 64 << 10
MAX_UNSENT: Final = 128 << 20  # more than callers and a configuration have waiting
LOST: Final = 137
REPORT_BYTES: Final = 4000


class MachineGone(OcirunError):
    """The machine has ended; the message says why."""


class Monitor:
    """A monitor, which runs in its own process."""

    def __init__(self, order: Order, folder: Folder, report: int) -> None:
        self.order = order
        self.folder = folder
        self.report = report
        self.gate, self.answer = order.gate
        self.reader = frames.Reader(frames.FROM_GUEST)
        self.machine: Machine
        self.taps = Taps()
        self.notes: list[str] = []  # for --debug
        self.state: SavedState | None = None
        self.console: Console
        self.sessions: dict[int, Session] = {}
        self.connections: dict[int, Connection] = {}
        self.callers: dict[int, Connection] = {}  # by the number of their process
        self.unsent = bytearray()
        self.is_gone = False
        self.is_up = False
        self.is_seeded = False
        self.is_ready = False

    def run(self) -> int:
        """Boot, serve until the container's process has ended; return its exit status.

        Every exception is reported, a bug of ours too: this process's stderr goes to /dev/null.
        """
        try:
            return self._run()
        except Exception as error:  # noqa: BLE001  # of what ends the machine, too
            return self._fail(error)

    def _run(self) -> int:
        self.wakeup = forward_signals()
        try:
            self._start()
            return self._serve()
        except Exception as error:  # noqa: BLE001
            return self._fail(error)
        finally:
            if hasattr(self, "machine"):
                self.machine.stop()
            self._part_devices()

    def _start(self) -> None:
        order = self.order
        share = f"{self.folder.path}/{SHARE}"
        with doing(f"making {share}"):
            os.mkdir(share, 0o700)
        import socket  # cold: _socket has no accept

        self.listener = socket.socket(fileno=listen(self.folder).detach())
        self.listener.setblocking(False)
        make_share(share, order.rootfs, readonly=order.readonly, binds=order.binds)
        enter_namespace(order.network)
        os.write(self.report, IN_NAMESPACES)
        has_gone = not os.read(order.go, 1)
        os.close(order.go)
        if has_gone:
            raise SetupError("who makes the machine has gone")
        self.taps = make_taps(self.folder, order.network_path)
        order.setup[1:1] = self.taps.setup  # after the root, before what may look at devices
        self._make_machine(order.hardware, share)
        self.sessions[0] = Session(0, order.fds, self.send)

    def _make_machine(self, hardware: Hardware, share: str) -> None:
        """Start a machine: restore it, or have it boot."""
        machine = None
        if hardware.states:
            self.state = SavedState(hardware)
            machine = restore(hardware, share, self.taps.fds, self.state, self.notes)
        self.machine = machine or Machine(hardware, share, self.taps.fds)
        self.console = Console(self.machine.console)
        self.agent_fd = self.machine.agent
        if machine:
            self.taps.close()
            self.is_up = True
            self._set_up()
            return
        try:
            self.machine.qmp.greet()
        except QmpError as error:
            raise MachineGone(f"starting {hardware.hypervisor}: {self._why()}") from error
        if hardware.image[0]:
            open_image(self.machine.qmp, hardware.image, readonly=self.order.readonly)

    def send(self, frame: bytes) -> None:
        """Send a frame to the guest, now or when it takes more."""
        self.unsent += frame

    def _fail(self, error: Exception) -> int:
        """Report what went wrong to whoever waits, and keep it in the folder."""
        message, traceback = sentence_of(error), traceback_of(error)
        for fd, said in ((self.report, f"{message}\0{traceback}"), (self.answer, message)):
            try:
                if fd >= 0:
                    os.write(fd, os.fsencode(said)[:REPORT_BYTES])
            except BrokenPipeError:
                continue  # nobody waits any more
        try:
            self.folder.write(FAILURE, message)
            if traceback:
                self.folder.write(TRACEBACK, traceback)
        except OcirunError:
            return LOST  # the folder is being deleted, or the disk is full: the status says enough
        return LOST

    def _part_devices(self) -> None:
        try:
            part_devices(self.folder)
        except OcirunError:
            return  # `delete` tries again, and has somebody to tell

    def _serve(self) -> int:
        deadline = time.monotonic() + self.order.boot_s
        while True:
            handlers = self._handlers()
            poll = select.poll()
            for fd, (events, _) in handlers.items():
                poll.register(fd, events)
            left_ms = None if self.is_ready else max(0, deadline - time.monotonic()) * 1000
            found = poll.poll(left_ms)
            if not found and not self.is_ready:
                raise MachineGone(
                    f"the machine has not booted in {self.order.boot_s} s: {self._why()}"
                )
            for fd, events in found:
                handlers[fd][1](events)
            for session in [*self.sessions.values()]:
                if session.is_over():
                    self._finish(session)
                    if session.number == 0:
                        return LOST if session.status is None else session.status

    def _handlers(self) -> dict[int, tuple[int, Callable[[int], None]]]:
        """Return what to wait for: descriptor to events, and what to do then."""
        agent = select.POLLOUT if self.unsent else 0
        # Security: a guest that does not read the answers to what it sends is not read.
        agent |= select.POLLIN if len(self.unsent) < MAX_UNSENT else 0
        handlers: dict[int, tuple[int, Callable[[int], None]]] = {
            self.wakeup: (select.POLLIN, self._signals),
            self.listener.fileno(): (select.POLLIN, self._accept),
        }
        if not self.is_gone:
            handlers[self.agent_fd] = (agent, self._agent)
            handlers[self.machine.pidfd] = (select.POLLIN, self._qemu_ended)
            handlers[self.machine.virtiofsd_pidfd] = (select.POLLIN, self._virtiofsd_ended)
            handlers[self.machine.console] = (select.POLLIN, self.console.read)
        if self.gate >= 0 and self.is_ready:
            handlers[self.gate] = (select.POLLIN, self._open_gate)
        for fd in self.connections:
            handlers[fd] = (select.POLLIN, self._hearing(fd))
        for session in self.sessions.values():
            for fd, events in session.wanted():
                before = handlers[fd][0] if fd in handlers else 0  # a terminal: both ways
                handlers[fd] = (before | events, session.serving(fd))
        return handlers

    def _hearing(self, fd: int) -> Callable[[int], None]:
        return lambda _: self._hear(fd)

    def _agent(self, events: int) -> None:
        if events & select.POLLOUT and self.unsent:
            try:
                del self.unsent[: os.write(self.agent_fd, self.unsent[:AGENT_BYTES])]
            except BlockingIOError:
                return
            except BrokenPipeError as error:
                raise MachineGone(self._why()) from error
        if events & ~select.POLLOUT:
            try:
                data = os.read(self.agent_fd, AGENT_BYTES)
            except BlockingIOError:
                return
            except ConnectionResetError:
                data = b""
            if not data:
                self._qemu_ended(0)
                return
            for kind, process, payload in self.reader.feed(data):
                self._take(kind, process, payload)

    def _take(self, kind: bytes, process: int, payload: bytes) -> None:
        if not self.is_up:
            if kind != frames.HELLO:
                raise BadFrame("the guest does not begin with a greeting")
            self.is_up = True
            self._greeted()
            return
        if not self.is_seeded:
            if kind != frames.SEEDED:
                raise BadFrame("the guest does not answer the seed")
            self._set_up()
            return
        session = self.sessions.get(process)
        if session is None:
            raise BadFrame(f"the guest has no process {process}")
        if kind == frames.READY:
            self._ready(process)
            return
        session.take(kind, payload)
        if kind == frames.STARTED:
            session.copy_size()
            if process == 0 and self.answer >= 0:
                os.close(self.answer)
                self.answer = -1
        elif kind == frames.FAILED and process == 0:
            raise MachineGone(session.failure or "")
        if process in self.callers and kind in (frames.STARTED, frames.FAILED):
            self._tell(process, frames.frame(kind, process, payload))

    def _greeted(self) -> None:
        """Save the state of a guest that has booted, and bring it to where a restored one is."""
        if self.state:
            self.state.try_to_save(self.machine.qmp, self.machine.memory, self.notes)
        try:
            self.machine.plug_devices()
            self.taps.close()
        except QmpError as error:
            raise MachineGone(
                self.machine.end_of_virtiofsd() or f"{error}: {self._why()}"
            ) from error
        self.send(frames.seed())

    def _set_up(self) -> None:
        self.is_seeded = True
        for frame in self.order.setup:
            self.send(frame)
        self.send(frames.frame(frames.PROCESS, 0, self.order.program))

    def _ready(self, process: int) -> None:
        if process:
            self.send(frames.frame(frames.GO, process))
        elif self.is_ready:
            raise BadFrame("the guest is ready twice")
        else:
            self.is_ready = True
            set_pdeathsig(0)  # from here on it outlives `create`
            lines = "\n".join([str(self.machine.qemu), *self.notes])
            os.write(self.report, READY + os.fsencode(lines)[:REPORT_BYTES])
            os.close(self.report)
            self.report = -1

    def _open_gate(self, _: int) -> None:
        os.read(self.gate, len(GO))
        os.close(self.gate)
        self.gate = -1
        os.write(self.answer, GO)
        self.send(frames.frame(frames.GO, 0))

    def _finish(self, session: Session) -> None:
        session.close()
        del self.sessions[session.number]
        if session.status is not None and session.number in self.callers:
            self._tell(session.number, frames.frame(frames.EXIT, 0, frames.u32(session.status)))

    def _tell(self, process: int, frame: bytes) -> None:
        if not answer(self.callers[process], frame):
            del self.callers[process]

    def _accept(self, _: int) -> None:
        try:
            accepted, _ = self.listener.accept()
        except BlockingIOError:
            return
        self.connections[accepted.fileno()] = Connection(accepted, frames.FROM_CALLER)

    def _hear(self, fd: int) -> None:
        connection = self.connections[fd]
        number = next((n for n, caller in self.callers.items() if caller is connection), 0)
        try:
            found = connection.receive()
            for kind, _, payload in found or ():
                number = self._do(connection, number, kind, payload)
        except BadFrame:
            found = None
        if found is None:
            if number in self.sessions and number:
                self.sessions[number].signal(_signal.SIGKILL)
            self.callers.pop(number, None)
            del self.connections[fd]
            connection.close()

    def _do(self, connection: Connection, number: int, kind: bytes, payload: bytes) -> int:
        """Do what a caller asks for; return the number of its process."""
        if kind == frames.PROCESS:
            free = [n for n in range(1, frames.MAX_PROCESSES) if n not in self.sessions]
            if number or not free:
                message = b"there are too many processes in the machine"
                answer(connection, frames.frame(frames.FAILED, 0, message))
                return number
            number = free[0]
            self.sessions[number] = Session(number, connection.take_fds(), self.send)
            self.callers[number] = connection
            self.send(frames.frame(frames.PROCESS, number, payload))
        elif kind == frames.SIGNAL and number in self.sessions:
            self.sessions[number].signal(frames.number(payload))
            if not number:
                answer(connection, frames.frame(frames.STARTED))
        elif kind == frames.SIZE and number in self.sessions and len(payload) == 8:
            rows, columns = payload[:4], payload[4:]
            self.sessions[number].size(frames.number(rows), frames.number(columns))
        return number

    def _signals(self, _: int) -> None:
        for number in os.read(self.wakeup, 64):
            if number == _signal.SIGWINCH:
                self.sessions[0].copy_size()
            elif self.is_ready:
                self.sessions[0].signal(number)
            elif number in (_signal.SIGTERM, _signal.SIGINT):
                raise SetupError(f"ended by signal {number} while the machine was booting")

    def _why(self) -> str:
        return self.console.why(self.machine)

    def _virtiofsd_ended(self, _: int) -> None:
        """Raise, unless it has ended because QEMU has."""
        if not self.machine.has_ended():
            raise MachineGone(self.machine.end_of_virtiofsd())

    def _qemu_ended(self, _: int) -> None:
        """Raise, after what the guest has said last."""
        try:
            while data := os.read(self.agent_fd, AGENT_BYTES):
                for kind, process, payload in self.reader.feed(data):
                    self._take(kind, process, payload)
        except (BlockingIOError, ConnectionError):
            pass
        if self.sessions[0].status is None:
            raise MachineGone(self._why())
        self.is_gone = True  # what is left of the output is written, and then that is the end
