"""The programs and files that a machine needs on this host, and its processes.

Source: docs/vm.md#requirements; virtiofsd(1), qemu(1).
"""

from __future__ import annotations

import _socket
import os
import select

import ocirun
from ocirun.engines.vm.config import cpus_of, memory_of
from ocirun.engines.vm.qemu import (
    MIB,
    QEMU,
    Hardware,
    command_line,
    plug_image,
    plug_share,
    plug_taps,
    user_options,
)
from ocirun.engines.vm.qmp import Qmp
from ocirun.engines.vm.saved import copy_data
from ocirun.engines.vm.section import FORMATS
from ocirun.errors import SetupError, doing
from ocirun.kernel.prctl import set_pdeathsig
from ocirun.kernel.process import clone3, reset_signals
from ocirun.kernel.which import find_in_path
from ocirun.process.sockets import through_folder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, Final, NoReturn

    from ocirun.spec.types import Config

VIRTIOFSD: Final = ("/usr/libexec/virtiofsd", "/usr/lib/qemu/virtiofsd")
PLACES: Final = ("/usr/lib/ocirun/vm", "/usr/local/lib/ocirun/vm")
KERNEL, INITRD, STATES = "vmlinux", "initrd", "saved"
CPUINFO: Final = "/proc/cpuinfo"
SIGKILL: Final = 9
LAST_S: Final = 1.0
NOT_EXECUTED: Final = 127


def hardware_of(config: Config) -> Hardware:
    """Return the machine for a configuration.

    Raises:
        SetupError: QEMU, virtiofsd, the kernel or the initial RAM disk is missing.
    """
    section: dict[str, Any] = dict(config).get("vm") or {}  # type: ignore[assignment]
    hypervisor: dict[str, Any] = section.get("hypervisor") or {}
    kernel: dict[str, Any] = section.get("kernel") or {}
    parameters = hypervisor.get("parameters") or ()
    program = hypervisor.get("path") or find_in_path(QEMU)
    if not program:
        raise SetupError(f"no {QEMU} in $PATH; the vm engine needs QEMU (qemu-system-x86)")
    if not os.access(program, os.X_OK):
        raise SetupError(f"the hypervisor {program} is not there, or cannot be executed")
    find_virtiofsd()
    initrd = _file("initial RAM disk", kernel.get("initrd"), INITRD)
    image: dict[str, str] = section.get("image") or {}
    if image:
        _file("image", image["path"], "")
    kvm = has_kvm()
    # On KVM a boot is quick, and restored machines would share where their kernels are in memory.
    # And what a bundle has QEMU do besides may not be in a state at all.
    boots = kvm or parameters or kernel.get("path") or kernel.get("initrd") or image
    states = "" if boots else STATES
    return Hardware(
        program,
        _file("kernel", kernel.get("path"), KERNEL),
        initrd,
        memory=memory_of(config),
        cpus=cpus_of(config),
        has_kvm=kvm,
        parameters=parameters,
        kernel_parameters=kernel.get("parameters") or (),
        states=states and os.path.join(os.path.dirname(initrd), states),
        image=(image["path"], FORMATS[image["format"]]) if image else ("", ""),
    )


def find_virtiofsd() -> str:
    """Return the path of virtiofsd.

    Raises:
        SetupError: it is not installed.
    """
    for path in (*VIRTIOFSD, find_in_path("virtiofsd")):
        if path and os.access(path, os.X_OK):
            return path
    raise SetupError("no virtiofsd; the vm engine needs it (Debian: virtiofsd, or qemu 7)")


def _file(what: str, named: str | None, name: str) -> str:
    if named:
        if not os.path.isfile(named):
            raise SetupError(f"the {what} {named} does not exist")
        return named
    for place in (*(os.path.join(path, "vm") for path in ocirun.__path__), *PLACES):
        path = os.path.join(place, name)
        if os.path.isfile(path):
            return path
    raise SetupError(f"no {what} for machines; `make vm` makes it, or vm.kernel names one")


def has_kvm() -> bool:
    """Return whether machines can run on KVM: its device opens, and the processor has it.

    Kernel: in some virtual machines there is a /dev/kvm that makes machines which never run.
    """
    try:
        os.close(os.open("/dev/kvm", os.O_RDWR | os.O_CLOEXEC))
        with open(CPUINFO, encoding="ascii", errors="replace") as file:
            return any(
                line.startswith("flags") and {"vmx", "svm"} & set(line.split()) for line in file
            )
    except OSError:
        return False


class Machine:
    """The processes of one machine, and our ends of its sockets; owns them.

    They are children of ours, and die with us. `qemu` and `virtiofsd` are pids. `memory` is that of
    the guest, a memfd, until the share is plugged in.
    """

    __slots__ = (
        "_has_image",
        "_share_fd",
        "_taps",
        "agent",
        "console",
        "memory",
        "pidfd",
        "pids",
        "qemu",
        "qmp",
        "virtiofsd",
        "virtiofsd_pidfd",
    )

    def __init__(
        self,
        hardware: Hardware,
        share: str,
        taps: Sequence[tuple[int, str]],
        state: int = -1,
    ) -> None:
        """Start virtiofsd on the directory `share`, and QEMU.

        With a saved `state` (borrowed) the machine has its memory, and waits for the rest of it.
        `taps` (borrowed) are plugged in with the share.

        Raises:
            SetupError: one of them cannot be started.
        """
        self.pids: list[int] = []
        self._taps = taps
        self._has_image = bool(hardware.image[0])
        self.pidfd = self.virtiofsd_pidfd = self._share_fd = self.memory = -1
        with doing("making the machine's sockets"):
            fd, qmp = _pair()
            self.agent, agent = _pair()
            self.console, console = _pair()
        self.qmp = Qmp(fd)
        theirs = (qmp, agent, console)
        try:
            self._start_virtiofsd(share, console)
            with doing("making the machine's memory"):
                self.memory = os.memfd_create("ocirun-vm")
                os.ftruncate(self.memory, hardware.memory_mib() * MIB)
                if state >= 0:
                    copy_data(state, self.memory)
            words = command_line(
                hardware,
                qmp=qmp,
                agent=agent,
                console=console,
                memory=self.memory,
                user=user_options(hardware.hypervisor),
                is_restored=state >= 0,
            )
            self.qemu, self.pidfd = self._spawn(words, [*theirs, self.memory], console)
        except BaseException:
            self.stop()
            raise
        finally:
            for fd in theirs:
                os.close(fd)
        os.set_blocking(self.agent, False)

    def plug_devices(self) -> None:
        """Have the guest see virtiofsd's share and its network devices.

        Raises:
            QmpError: QEMU or virtiofsd refuses.
        """
        plug_share(self.qmp, self._share_fd)
        plug_taps(self.qmp, self._taps)
        if self._has_image:
            plug_image(self.qmp)
        for fd in (self._share_fd, self.memory):
            os.close(fd)
        self._share_fd = self.memory = -1

    def _start_virtiofsd(self, share: str, console: int) -> None:
        """Start virtiofsd, and connect to it for QEMU."""
        path = f"{share}.sock"
        with doing("making virtiofsd's socket"):
            listener = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
            through_folder(path, listener.bind)
            try:
                listener.listen(1)
                connection = _socket.socket(
                    _socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC
                )
                through_folder(path, connection.connect)
            finally:
                os.unlink(path)
        words = [find_virtiofsd(), f"--fd={listener.fileno()}", "-o", f"source={share}"]
        if words[0] == VIRTIOFSD[0]:  # the one in Rust
            words = [words[0], f"--fd={listener.fileno()}", "--shared-dir", share]
        self._share_fd = connection.detach()
        spawned = self._spawn(words, [listener.fileno()], console)
        self.virtiofsd, self.virtiofsd_pidfd = spawned
        listener.close()

    def _spawn(self, words: list[str], fds: list[int], errors_fd: int) -> tuple[int, int]:
        """Start a program with `fds` (borrowed), errors to `errors_fd`; return pid and pidfd."""
        parent = os.getpid()
        with doing(f"starting {words[0]}"):
            pid, pidfd = clone3(0)
        if pid == 0:
            _become(words, fds, errors_fd, parent)
        self.pids.append(pid)
        return pid, pidfd

    def has_ended(self) -> bool:
        """Return whether QEMU has ended, or does in the next moment."""
        return _is_ready(self.pidfd)

    def end_of_virtiofsd(self) -> str:
        """Return how virtiofsd has ended; "" while it runs. It is reaped."""
        if not _is_ready(self.virtiofsd_pidfd):
            return ""
        self.pids.remove(self.virtiofsd)
        status = os.waitpid(self.virtiofsd, 0)[1]
        if os.WIFSIGNALED(status):
            return f"virtiofsd was killed by signal {os.WTERMSIG(status)}"
        return f"virtiofsd ended with status {os.WEXITSTATUS(status)}"

    def stop(self) -> None:
        """Kill and reap what still runs, and close everything."""
        for pid in reversed(self.pids):
            try:
                os.kill(pid, SIGKILL)
                os.waitpid(pid, 0)
            except (ChildProcessError, ProcessLookupError):
                continue
        self.pids = []
        fds = (self.qmp.fd, self.agent, self.console)
        for fd in (*fds, self.pidfd, self.virtiofsd_pidfd, self._share_fd, self.memory):
            if fd >= 0:
                os.close(fd)


def _is_ready(pidfd: int) -> bool:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(LAST_S * 1000))


def _pair() -> tuple[int, int]:
    ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_STREAM)
    return ours.detach(), theirs.detach()


def _become(words: list[str], fds: list[int], errors_fd: int, parent: int) -> NoReturn:
    """In the child: execute the program."""
    try:
        reset_signals()
        set_pdeathsig(SIGKILL)
        if os.getppid() != parent:
            os._exit(NOT_EXECUTED)
        null = os.open(os.devnull, os.O_RDWR)
        for fd in (0, 1):
            os.dup2(null, fd)
        os.dup2(errors_fd, 2)
        for fd in fds:
            os.set_inheritable(fd, True)
        os.execve(words[0], words, {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"})
    except OSError as error:
        os.write(2, f"{words[0]}: {error}\n".encode())
    finally:
        os._exit(NOT_EXECUTED)
