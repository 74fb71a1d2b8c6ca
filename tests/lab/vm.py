"""One run of QEMU: how it is started, its monitor (QMP), and the frames of the agent inside."""

from __future__ import annotations

import ctypes
import json
import select
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.cache import LabError, digest
from lab.kernel import Kernel

QEMU = "qemu-system-x86_64"
PR_SET_PDEATHSIG = 1
COMMAND_LINE = (
    "console=ttyS0 root=/dev/vda rw quiet loglevel=4 mitigations=off nokaslr tsc=reliable"
    " no_timer_check systemd.show_status=false random.trust_cpu=on audit=0 nowatchdog net.ifnames=0"
)


@dataclass(frozen=True)
class Hardware:
    """What makes one machine differ from another; a snapshot belongs to exactly one."""

    kernel: Kernel
    accelerator: str = "tcg,thread=multi"
    cpus: int = 2
    memory_mb: int = 2048
    append: str = ""

    def key(self) -> str:
        """A name for the snapshot. QEMU restores only what the same QEMU has kept."""
        words = _words(self, [], {})
        version = subprocess.run([QEMU, "--version"], capture_output=True, check=True).stdout
        return digest(version, self.kernel.release, *words)


def _words(hardware: Hardware, disks: list[Path], folders: dict[str, Path]) -> list[str]:
    """The command line without what connects to us."""
    words = ["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-M", "q35"]
    words += ["-cpu", "host" if hardware.accelerator.startswith("kvm") else "max"]
    words += ["-accel", hardware.accelerator, "-smp", str(hardware.cpus)]
    words += ["-m", str(hardware.memory_mb), "-kernel", str(hardware.kernel.image)]
    words += ["-initrd", str(hardware.kernel.initrd)]
    words += ["-append", f"{COMMAND_LINE} {hardware.append}".strip()]
    for number, disk in enumerate(disks):
        form = "qcow2" if disk.suffix == ".qcow2" else "raw"
        read_only = "" if form == "qcow2" else ",readonly=on"
        drive = f"if=none,id=d{number},file={disk},format={form},cache=unsafe{read_only}"
        words += ["-drive", drive, "-device", f"virtio-blk-pci,drive=d{number}"]
    for tag, folder in folders.items():
        access = "readonly=on" if tag == "host" else "writeout=immediate"
        local = f"local,id={tag},path={folder},security_model=none,multidevs=remap,{access}"
        words += ["-fsdev", local, "-device", f"virtio-9p-pci,fsdev={tag},mount_tag={tag}"]
    return words


class Machine:
    """A machine that is booting (or being restored, from `incoming`) until `stop`.

    `disks` are /dev/vda, /dev/vdb and so on; `folders` are offered by their names over 9p.
    """

    def __init__(
        self,
        hardware: Hardware,
        disks: list[Path],
        folders: dict[str, Path],
        console: Path,
        incoming: Path | None = None,
    ) -> None:
        self._console = console
        self._agent, agent = socket.socketpair()
        self._monitor, monitor = socket.socketpair()
        words = [QEMU, *_words(hardware, disks, folders)]
        words += ["-device", "virtio-serial-pci"]
        words += ["-chardev", f"socket,id=agent,fd={agent.fileno()}"]
        words += ["-device", "virtserialport,chardev=agent,name=agent"]
        words += ["-chardev", f"file,id=console,path={console}", "-serial", "chardev:console"]
        words += ["-chardev", f"socket,id=monitor,fd={monitor.fileno()}"]
        words += ["-mon", "chardev=monitor,mode=control"]
        if incoming is not None:
            words += ["-incoming", f"exec:cat '{incoming}'"]
        with agent, monitor:
            self._process = _start(words, (agent.fileno(), monitor.fileno()))
        self._lines = self._monitor.makefile("rb")
        if not self._lines.readline():  # the greeting
            raise LabError(f"starting {QEMU}: {self._last_words()}")
        self.monitor("qmp_capabilities")

    def monitor(self, command: str, **arguments: object) -> Any:  # noqa: ANN401  # QMP's own
        """Send a command to QEMU's monitor and return its answer.

        Raises:
            LabError: it refuses.
        """
        request = {"execute": command, "arguments": arguments}
        self._monitor.sendall(json.dumps(request).encode() + b"\n")
        for line in self._lines:
            answer = json.loads(line)
            if "return" in answer:
                return answer["return"]
            if "error" in answer:
                raise LabError(f"asking QEMU for {command}: {answer['error']['desc']}")
        raise LabError(f"asking QEMU for {command}: {self._last_words()}")

    def tell_agent(self, request: dict[str, Any]) -> None:
        self._agent.sendall(json.dumps(request).encode() + b"\n")

    def frames(self, limit_s: float) -> Iterator[tuple[str, bytes]]:
        """What the agent says, as (letter, bytes), until nobody asks for more.

        Raises:
            LabError: the machine has gone.
            TimeoutError: it has not said the next thing within the limit, counted from now.
        """
        end = time.monotonic() + limit_s
        while True:
            header = self._receive(5, end)
            yield header[:1].decode(), self._receive(struct.unpack(">I", header[1:])[0], end)

    def _receive(self, count: int, end: float) -> bytes:
        data = b""
        while len(data) < count:
            readable, _, _ = select.select([self._agent], [], [], max(0, end - time.monotonic()))
            if not readable:
                raise TimeoutError
            more = self._agent.recv(count - len(data))
            if not more:
                raise LabError(f"the machine has gone: {self._last_words()}")
            data += more
        return data

    def _last_words(self) -> str:
        errors = self._process.stderr.read() if self._process.stderr else b""
        console = self._console.read_bytes()[-2000:] if self._console.exists() else b""
        return (errors + b"\n" + console).decode(errors="replace").strip() or "no word"

    def stop(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self._agent.close()
        self._lines.close()
        self._monitor.close()
        if self._process.stderr:
            self._process.stderr.close()


def _start(words: list[str], fds: tuple[int, ...]) -> subprocess.Popen[bytes]:
    libc = ctypes.CDLL(None)
    try:
        return subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            pass_fds=fds,
            # It shall not outlive us, however we end.
            preexec_fn=lambda: libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL),
        )
    except FileNotFoundError as error:
        hint = "tools/prepare lab installs it where there is apt-get"
        raise LabError(f"no {QEMU} here; {hint}") from error
