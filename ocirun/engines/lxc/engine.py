"""The interface of engines, on LXC.

    create   ROOT/ID/config  LXC's configuration       ROOT/ID/gate  the hook that waits for start
             lxc-start ─┬─ init: set up, waits for lxc-start
                        └─ gate: writes init's pid to booted.fifo, waits at start.fifo
    start    gate: answers, ends; lxc-start lets init execute the program
    end      lxc-start reaps init, removes its cgroups, and ends

Source: docs/engines.md#lxc; lxc.container.conf(5), lxc.hook.start-host.
"""

from __future__ import annotations

import os
import select
import time

from ocirun.engines.engine import LXC, Engine, cgroup_of
from ocirun.engines.lxc import tools
from ocirun.engines.lxc.cgroup import cgroup_paths_of, remove_cgroups
from ocirun.engines.lxc.configuration import GATE, cgroup_paths, make_configuration
from ocirun.engines.lxc.console import make_terminal
from ocirun.errors import SetupError, doing
from ocirun.kernel.procstat import start_time
from ocirun.process.gate import GO, make_gate, open_gate
from ocirun.process.gate import NAME as START_FIFO
from ocirun.process.sockets import send_fd
from ocirun.process.stdio import STDIO

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final

    from ocirun.container.record import Record
    from ocirun.errors import OcirunError
    from ocirun.process.stdio import Stdio
    from ocirun.spec.types import Config

BOOTED: Final = "booted.fifo"
MONITOR: Final = "lxc.pid"  # pid and start time of lxc-start
SIGNALS: Final = "signal.conf"
SIGKILL: Final = 9
WAIT_S: Final = 10.0
POLL_S: Final = 0.005
# What init does at the gate of a native container (process/gate.py), for the hook.
GATE_SCRIPT: Final = """\
cd "$(dirname "$0")" || exit 1
exec 3<>start.fifo 4<>started.fifo
echo "$LXC_PID" >booted.fifo
head -c 1 <&3 >/dev/null
exec 3>&-
printf g >&4
"""


# LXC gives its init no controlling terminal. Kernel: a session leader without one gets the first
# that it opens. `true` is a command of the shell itself, and may fail, which `exec` may not.
TAKE_TERMINAL: Final = ("/bin/sh", "-c", 'true <>/dev/console; exec "$@"', "sh")


class Lxc(Engine):
    """Containers of LXC."""

    name = LXC

    def check(self, config: Config, rootfs: str) -> None:
        """Refuse what LXC has no counterpart for, and an LXC that is not there."""
        if os.geteuid() != 0:
            raise SetupError("the lxc engine needs root")
        tools.find_tool(tools.START)
        make_configuration(config, "", rootfs, "")

    def boot(
        self, record: Record, config: Config, stdio: Stdio, connect: Callable[[], None]
    ) -> int:
        """Start lxc-start, which waits in its hook."""
        del connect
        folder = record.directory
        # Order: known before lxc-start makes them, in case we die.
        record.cgroup_paths = cgroup_paths(config, record.id)
        record.write()
        text = make_configuration(config, record.id, record.rootfs, folder.path)
        folder.write(tools.CONFIGURATION, text)
        folder.write(GATE, GATE_SCRIPT)
        for fd in make_gate(folder.fd):  # the hook opens them by name
            os.close(fd)
        with doing(f"making {folder.path}/{BOOTED}"):
            os.mkfifo(BOOTED, 0o600, dir_fd=folder.fd)
            booted = os.open(BOOTED, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder.fd)
        try:
            monitor = self._spawn(record, config, stdio)
            folder.write(MONITOR, f"{monitor} {start_time(monitor) or 0}")
            try:
                pid = _wait_for_init(booted, monitor, folder.path)
            except BaseException:
                end_monitor(record)
                raise
        finally:
            os.close(booted)
            os.unlink(BOOTED, dir_fd=folder.fd)
        record.init_process_pid = pid
        record.init_process_start = start_time(pid) or 0
        record.cgroup_paths = cgroup_paths_of(pid)
        cgroup = cgroup_of(record)
        if directory := cgroup.main_directory():
            with doing(f"looking at cgroup {directory}"):
                record.cgroup_inode = os.stat(directory).st_ino
        return monitor

    def _spawn(self, record: Record, config: Config, stdio: Stdio) -> int:
        """Return the pid of lxc-start."""
        root = record.directory.path.rpartition("/")[0]
        args = config["process"]["args"]
        if stdio.console < 0:
            return tools.spawn_start(root, record.id, args, [*(stdio.fds or STDIO)], None)
        if os.path.exists(f"{record.rootfs}/bin/sh"):
            args = [*TAKE_TERMINAL, *args]
        master, slave = make_terminal(config["process"].get("consoleSize"))
        try:
            terminal = os.ttyname(slave)
            with doing("sending the terminal"):
                send_fd(stdio.console, master, terminal)
            return tools.spawn_start(root, record.id, args, (), terminal)
        finally:
            os.close(slave)
            os.close(master)

    def start(self, record: Record) -> str | None:
        """Release the hook, and wait until lxc-start has executed the program."""
        open_gate(record.directory.fd)
        end = time.monotonic() + tools.WAIT_S
        while True:
            is_over = monitor_of(record) is None
            lines = tools.read_log(record.directory.path)
            if tools.has_started(lines):
                return None
            if is_over or time.monotonic() > end:
                return tools.first_error(lines) or "lxc-start does not say why"
            time.sleep(POLL_S)

    def exit_status(self, record: Record, child_status: int) -> int:
        """Return what lxc-start has logged; its own status if it was killed."""
        status = tools.exit_status_in(
            tools.read_log(record.directory.path), record.init_process_pid
        )
        return child_status if status is None else status

    def kill(self, record: Record, signal: int) -> None:
        """Send a signal by lxc-stop, whose signal for halting can be any."""
        root = record.directory.path.rpartition("/")[0]
        if signal == SIGKILL:
            tools.call("lxc-stop", root, record.id, "--kill")
        elif signal:
            # A file for each signal, because two `kill` may run at once.
            name = f"{SIGNALS}.{signal}"
            record.directory.write(name, f"lxc.signal.halt = {signal}\n")
            options = ("--nokill", "--nowait", "--rcfile", f"{record.directory.path}/{name}")
            tools.call("lxc-stop", root, record.id, *options)

    def processes(self, record: Record) -> list[int]:
        """Return what is in the container's cgroup."""
        return cgroup_of(record).processes()

    def freeze(self, record: Record) -> None:
        """Freeze the container by lxc-freeze."""
        tools.call("lxc-freeze", record.directory.path.rpartition("/")[0], record.id)

    def thaw(self, record: Record) -> None:
        """Thaw the container by lxc-unfreeze."""
        tools.call("lxc-unfreeze", record.directory.path.rpartition("/")[0], record.id)

    def release(self, record: Record) -> list[OcirunError]:
        """Wait for lxc-start, which removes what it made, and remove its own cgroups."""
        return end_monitor(record)


def _wait_for_init(booted: int, monitor: int, folder: str) -> int:
    """Return the pid that the hook writes to the FIFO `booted` (borrowed).

    Raises:
        SetupError: lxc-start (our child, which is reaped then) ends before; with its error.
    """
    pidfd = os.pidfd_open(monitor)
    try:
        poll = select.poll()
        poll.register(booted, select.POLLIN)
        poll.register(pidfd, select.POLLIN)
        ready = {fd for fd, _ in poll.poll()}
        text = os.read(booted, 64) if booted in ready else b""
        if text.strip().isdigit():
            return int(text)
    finally:
        os.close(pidfd)
    os.waitpid(monitor, 0)
    reason = tools.first_error(tools.read_log(folder)) or "lxc-start has ended without an error"
    raise SetupError(f"unable to start container process: {reason}")


def monitor_of(record: Record) -> int | None:
    """Return the pid of the container's lxc-start; None if it has ended."""
    text = record.directory.read(MONITOR) or b""
    pid, _, start = text.partition(b" ")
    if not pid.isdigit() or not start.isdigit() or start_time(int(pid)) != int(start):
        return None
    return int(pid)


def end_monitor(record: Record) -> list[OcirunError]:
    """Wait until the lxc-start of a container whose init is gone has ended; return what is left.

    One that has no init yet, or does not end, is killed.
    """
    # LXC may have removed them already, and somebody else have made others there.
    paths = record.cgroup_paths if cgroup_of(record).is_current() else {}
    if pid := monitor_of(record):
        with doing("waiting for lxc-start"):
            try:
                pidfd = os.pidfd_open(pid)
            except ProcessLookupError:
                return remove_cgroups(paths)
            try:
                if monitor_of(record):  # the pid was not reused before it was opened
                    _end(record, pidfd, pid)
            finally:
                os.close(pidfd)
    return remove_cgroups(paths)


def _end(record: Record, pidfd: int, pid: int) -> None:
    from _signal import pidfd_send_signal

    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    if record.init_process_pid:
        _free_hook(record)
        if poll.poll(WAIT_S * 1000):
            return
    try:
        pidfd_send_signal(pidfd, SIGKILL)  # its init goes with it (lxc.monitor.signal.pdeath)
    except ProcessLookupError:
        return
    poll.poll(WAIT_S * 1000)
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return  # not ours: somebody else reaps it


def _free_hook(record: Record) -> None:
    """Release a hook that still waits for start: lxc-start waits for it."""
    try:
        flags = os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW
        fd = os.open(START_FIFO, flags, dir_fd=record.directory.fd)
    except FileNotFoundError:
        return
    try:
        os.write(fd, GO)
    finally:
        os.close(fd)
