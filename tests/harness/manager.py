"""A service manager, as far as sd_notify goes: a datagram socket, and what came there from whom.

Source: sd_notify(3), sd_notify_barrier(3).
"""

from __future__ import annotations

import array
import os
import socket
import struct
import threading
from pathlib import Path
from types import TracebackType
from typing import NamedTuple


class Message(NamedTuple):
    """One datagram: its text, the pid that sent it, how many descriptors came with it."""

    text: str
    pid: int
    fds: int


class Manager:
    """Listens at a path or an abstract name ("@…") for the length of a block.

    `deaf`: it never reads. `slow`: seconds between a BARRIER=1 and the close that answers it;
    `barrier_open` tells whether one is waiting for that.
    """

    def __init__(self, address: str | Path, *, deaf: bool = False, slow: float = 0.0) -> None:
        self.address = str(address)
        self.messages: list[Message] = []
        self.barrier_open = False
        self._slow = slow
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._bind()
        self._ended = threading.Event()
        self._thread = None if deaf else threading.Thread(target=self._listen)

    def _bind(self) -> None:
        if self.address.startswith("@"):
            self._socket.bind("\0" + self.address[1:])
            return
        path = Path(self.address)
        folder = os.open(path.parent, os.O_PATH)
        self._socket.bind(f"/proc/self/fd/{folder}/{path.name}")
        os.close(folder)
        path.chmod(0o777)

    @property
    def texts(self) -> list[str]:
        return [message.text for message in self.messages]

    @property
    def told(self) -> list[str]:
        """What was said, without the barrier and without newlines at the end."""
        return [text.rstrip("\n") for text in self.texts if text != "BARRIER=1"]

    @property
    def environment(self) -> dict[str, str]:
        """Ours, with NOTIFY_SOCKET."""
        return {**os.environ, "NOTIFY_SOCKET": self.address}

    def _listen(self) -> None:
        self._socket.settimeout(0.05)
        while not self._ended.is_set():
            try:
                data, control, _, _ = self._socket.recvmsg(1 << 16, 4096)
            except TimeoutError:
                continue
            self._take(data.decode(), control)

    def _take(self, text: str, control: list[tuple[int, int, bytes]]) -> None:
        pid, fds = 0, array.array("i")
        for _, kind, data in control:
            if kind == socket.SCM_CREDENTIALS:
                pid = struct.unpack("iII", data)[0]
            elif kind == socket.SCM_RIGHTS:
                fds.frombytes(data)
        self.messages.append(Message(text, pid, len(fds)))
        if text == "BARRIER=1":
            self.barrier_open = True
            self._ended.wait(self._slow)
            self.barrier_open = False
        for fd in fds:
            os.close(fd)

    def __enter__(self) -> Manager:
        if self._thread:
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        if self._thread:
            self._thread.join()
        self._socket.close()
