"""Exec: a process of ours that stands for one in the guest.

It has the pid that callers get, forwards signals and the size of its terminal, and ends as the
process in the guest ends. The monitor copies its stdio.

Source: docs/vm.md#processes.
"""

from __future__ import annotations

import _signal
import os
import select
from fcntl import ioctl
from struct import pack, unpack

from ocirun.engines.engine import SIGKILL, Process, cgroup_of
from ocirun.engines.vm import frames
from ocirun.engines.vm.control import connect
from ocirun.engines.vm.failure import sentence_of, traceback_of
from ocirun.engines.vm.monitor import IN_NAMESPACES, LOST
from ocirun.engines.vm.signals import forward_signals
from ocirun.errors import SetupError, doing
from ocirun.kernel.prctl import set_pdeathsig
from ocirun.kernel.process import clone3, close_range
from ocirun.process.clone import reap
from ocirun.process.sockets import send_fd

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final, NoReturn

    from ocirun.container.record import Record
    from ocirun.engines.vm.control import Connection
    from ocirun.process.stdio import Stdio
    from ocirun.spec.types import Process as ProcessConfig

TIOCSCTTY: Final = 0x540E
TIOCSWINSZ: Final = 0x5414
TIOCGWINSZ: Final = 0x5413
REPORT_BYTES: Final = 4096
STARTED: Final = b"1 "


def stdio_of(process: ProcessConfig, stdio: Stdio) -> list[int]:
    """Return copies of the three descriptors, or the slave of a new terminal, which is raw.

    The terminal's master is sent to `stdio.console`: the guest's terminal does the rest.

    Raises:
        SetupError: the kernel refuses, or nobody takes the master.
    """
    if stdio.console < 0:
        return [os.dup(fd) for fd in stdio.fds or (0, 1, 2)]
    import tty  # cold

    with doing("opening a pseudo-terminal"):
        master, slave = os.openpty()
    try:
        tty.setraw(slave)
        if size := process.get("consoleSize"):
            height, width = (min(size[name], 0xFFFF) for name in ("height", "width"))
            ioctl(slave, TIOCSWINSZ, pack("HHHH", height, width, 0, 0))
        with doing("sending the terminal"):
            send_fd(stdio.console, master, os.ttyname(slave))
    except BaseException:
        os.close(slave)
        raise
    finally:
        os.close(master)
    return [slave]


def fork(
    act: Callable[[int], int],
    kept: list[int],
    connect: Callable[[int, int], None] = lambda _pid, _pidfd: None,
) -> tuple[int, int, str]:
    """Run `act` in a child with a session of its own, and wait for its report.

    `connect` is called with its pid and pidfd (borrowed) once it has reported IN_NAMESPACES.

    `act` gets the descriptor to report through ("1 " and a text for success), and returns an exit
    status. Of our descriptors the child has only `kept` (borrowed), and a null device as its stdio.

    Returns:
        Its pid, a pidfd that the caller closes, and what it has reported after "1 ".

    Raises:
        SetupError: with the message that it has reported instead, and the traceback of a bug as a
            note; it is reaped.
    """
    with doing("making a pipe"):
        reading, writing = os.pipe2(os.O_CLOEXEC)
    try:
        try:
            parent = os.getpid()
            with doing("cloning the machine's monitor"):
                pid, pidfd = clone3(0)
            if pid == 0:
                _be_child(act, writing, [*kept, writing], parent)
        finally:
            os.close(writing)
        report = _read_report(reading, lambda: connect(pid, pidfd), pid, pidfd)
    finally:
        os.close(reading)
    if report.startswith(STARTED):
        return pid, pidfd, os.fsdecode(report[len(STARTED) :])
    os.close(pidfd)
    reap(pid)
    sentence, _, traceback = os.fsdecode(report).partition("\0")
    failure = SetupError(sentence or "the machine's monitor died without saying why")
    if traceback:
        failure.add_note(traceback)  # for --debug
    raise failure


def _read_report(reading: int, connect: Callable[[], None], pid: int, pidfd: int) -> bytes:
    """Return what the child reports in the end; a failure of `connect` is its end."""
    report = b""
    try:
        while len(report) < REPORT_BYTES and (data := os.read(reading, REPORT_BYTES)):
            report += data
            if report == IN_NAMESPACES:
                report = b""
                connect()
    except BaseException:
        os.kill(pid, SIGKILL)
        os.close(pidfd)
        reap(pid)
        raise
    return report


def _be_child(act: Callable[[int], int], report: int, kept: list[int], parent: int) -> NoReturn:
    status = LOST
    try:
        # Order: until it has reported it dies with the caller; afterwards it outlives him.
        set_pdeathsig(SIGKILL)
        if os.getppid() == parent:
            os.setsid()
            null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
            for fd in (0, 1, 2):
                os.dup2(null, fd)
            _close_others(kept)
            status = act(report)
    except Exception as error:  # noqa: BLE001  # a bug of ours, too: nobody sees its stderr
        said = f"{sentence_of(error)}\0{traceback_of(error)}"
        os.write(report, os.fsencode(said)[:REPORT_BYTES])
    finally:
        os._exit(status)


def _close_others(kept: list[int]) -> None:
    first = 3
    for fd in sorted({fd for fd in kept if fd >= first}):
        close_range(first, fd - 1)
        first = fd + 1
    close_range(first)


def control_terminal(fds: list[int]) -> None:
    """Make a terminal ours, if `fds` is one: its size comes as SIGWINCH."""
    if len(fds) == 1:
        with doing("taking the terminal"):
            ioctl(fds[0], TIOCSCTTY, 0)


def execute(record: Record, process: ProcessConfig, payload: bytes, stdio: Stdio) -> Process:
    """Run a process in the guest; return what stands for it once its program runs.

    `payload` is that of its frame.

    Raises:
        SetupError: the guest or its monitor refuses; the message is theirs.
    """
    fds = stdio_of(process, stdio)
    try:
        pid, pidfd, _ = fork(
            lambda report: _stand(record, payload, fds, report), [*fds, record.directory.fd]
        )
    finally:
        for fd in fds:
            os.close(fd)
    return Process(pid, pidfd)


def _stand(record: Record, payload: bytes, fds: list[int], report: int) -> int:
    """In the child: be the process, until it ends; return its exit status."""
    wakeup = forward_signals()
    cgroup_of(record).join(os.getpid())
    control_terminal(fds)
    connection = connect(record.directory)
    connection.send(frames.frame(frames.PROCESS, 0, payload), fds)
    if len(fds) == 3:
        while fds:
            os.close(fds.pop())
    poll = select.poll()
    poll.register(connection.socket.fileno(), select.POLLIN)
    poll.register(wakeup, select.POLLIN)
    while True:
        for fd, _ in poll.poll():
            if fd == wakeup:
                _forward(connection, os.read(wakeup, 64), fds)
                continue
            found = connection.receive()
            if found is None:
                raise SetupError("the machine has gone")
            for kind, _, said in found:
                if kind == frames.STARTED:
                    set_pdeathsig(0)
                    os.write(report, STARTED)
                    os.close(report)
                elif kind == frames.FAILED:
                    raise SetupError(said.decode(errors="replace"))
                elif kind == frames.EXIT:
                    return frames.number(said)


def _forward(connection: Connection, numbers: bytes, fds: list[int]) -> None:
    for number in numbers:
        if number == _signal.SIGWINCH:
            if fds:
                rows, columns, _, _ = unpack("HHHH", ioctl(fds[0], TIOCGWINSZ, b"\0" * 8))
                payload = frames.u32(rows) + frames.u32(columns)
                connection.send(frames.frame(frames.SIZE, 0, payload))
        else:
            connection.send(frames.frame(frames.SIGNAL, 0, frames.u32(number)))
