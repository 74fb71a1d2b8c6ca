"""The program of the vm engine's guest, outside of a machine: in namespaces of this kernel."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from harness.bundle import Bundle
from harness.guarded import guard_machine
from harness.machine import REPO
from ocirun.engines.vm import frames
from ocirun.engines.vm.config import setup_frames
from ocirun.engines.vm.program import program_payload

SOURCES = REPO / "ocirun/engines/vm/guest"
LIMIT_S = 10.0
# Danger: the program is made to act as root on what it is sent, also if that is rubbish. So it has
# namespaces of its own, and sees this machine read-only.
APART = ["unshare", "--mount", "--pid", "--uts", "--ipc", "--net", "--cgroup"]
APART += ["--fork", "--kill-child", "--mount-proc"]


def compile_guest(path: Path) -> Path:
    """Compile the program as `path`, with every check of undefined behaviour that ends it."""
    checks = ["-fsanitize=undefined", "-fsanitize-undefined-trap-on-error", "-D_FORTIFY_SOURCE=2"]
    words = ["cc", "-std=gnu11", "-O1", "-static", "-Wall", "-Wextra", "-Werror", *checks]
    subprocess.run([*words, "-o", path, *sorted(SOURCES.glob("*.c"))], check=True)
    return path


class Guest:
    """One guest whose container's root is that of `bundle`."""

    def __init__(self, program: Path, bundle: Bundle) -> None:
        self.bundle = bundle
        self.seccomp: dict[str, Any] | None = None
        share = bundle.path / "share"
        share.mkdir()
        os.rename(bundle.rootfs, share / "root")
        self.root = share / "root"
        self.socket, theirs = socket.socketpair()
        self.socket.settimeout(LIMIT_S)
        with theirs:
            self.process = subprocess.Popen(
                [*APART, program, str(theirs.fileno()), share],
                pass_fds=[theirs.fileno()],
                preexec_fn=partial(guard_machine, share),  # noqa: PLW1509  # no threads here
                stderr=subprocess.PIPE,
                text=True,
            )
        self._reader = frames.Reader(frames.FROM_GUEST)
        self._frames = self._receive()
        self.outputs: dict[int, bytes] = {}
        self.errors: dict[int, bytes] = {}

    def _receive(self) -> Iterator[frames.Frame]:
        while data := self.socket.recv(65536):
            yield from self._reader.feed(data)

    def send(self, kind: bytes, process: int = 0, payload: bytes = b"") -> None:
        self.socket.sendall(frames.frame(kind, process, payload))

    def set_up(self) -> None:
        """Bring the container's process to its gate."""
        self.socket.sendall(frames.seed())
        for frame in setup_frames(self.bundle.config):  # type: ignore[arg-type]
            self.socket.sendall(frame)
        self.run(0)

    def run(self, number: int, **process: Any) -> None:  # noqa: ANN401
        process = {**self.bundle.process, **process}
        personality = self.bundle.linux.get("personality")
        payload = program_payload(process, str(self.root), self.seccomp, personality)  # type: ignore[arg-type]
        self.send(frames.PROCESS, number, payload)

    def until(self, kind: bytes, process: int) -> bytes:
        """Read frames until one of this kind; output is answered and kept."""
        for found, number, payload in self._frames:
            if found in (frames.STDOUT, frames.STDERR):
                said = self.outputs if found == frames.STDOUT else self.errors
                said[number] = said.get(number, b"") + payload
                stream = frames.u32(1 if found == frames.STDOUT else 2)
                self.send(frames.ACK, number, stream + frames.u32(len(payload)))
            if (found, number) == (kind, process):
                return payload
        raise AssertionError(
            f"the guest has ended without {kind!r}; it said {self.outputs} {self.errors}"
        )

    def end(self) -> tuple[int, str]:
        """Return its exit status and what it wrote to its console."""
        self.socket.close()
        _, errors = self.process.communicate(timeout=LIMIT_S)
        return self.process.returncode, errors


ROOT = frames.frame(frames.ROOT)
MAC = bytes(6)  # of lo, which is all that there is without a machine


def link(mtu: int = 1400, name: str = "eth7", mac: bytes = MAC) -> bytes:
    payload = bytes(2) + mac + frames.u32(mtu) + frames.text(name)
    return frames.frame(frames.LINK, payload=payload)


def address(prefix: int, *words: str) -> bytes:
    payload = frames.u32(prefix) + b"".join(map(frames.text, words))
    return frames.frame(frames.ADDRESS, payload=payload)


def route(prefix: int, *words: str, scope: int = 0) -> bytes:
    payload = b"".join(map(frames.u32, (prefix, 7, scope, 0)))
    return frames.frame(frames.ROUTE, payload=payload + b"".join(map(frames.text, words)))


NETWORK = [
    link(),
    address(24, "eth7", "10.1.0.2", "10.1.0.2", "10.1.0.255"),
    address(32, "eth7", "10.2.0.2", "10.2.0.1", ""),
    address(64, "eth7", "fd01::2", "fd01::2", ""),
    route(16, "eth7", "10.3.0.0", "", "10.1.0.2", scope=253),
    route(0, "eth7", "0.0.0.0", "10.1.0.1", ""),
    route(48, "eth7", "fd02::", "", ""),
]
