"""A seccomp agent: takes a filter's descriptor over its socket and answers what it is asked.

Source: seccomp_unotify(2); runtime-spec config-linux.md#the-container-process-state.
"""

from __future__ import annotations

import array
import fcntl
import json
import os
import select
import socket
import struct
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

NOTIF_RECV = 0xC0502100
NOTIF_SEND = 0xC0182101
CONTINUE = 1  # SECCOMP_USER_NOTIF_FLAG_CONTINUE


class Agent:
    """Listens at `path`; for each call asks `decide(number)` for an errno, 0 to let it happen."""

    def __init__(self, path: Path, decide: Callable[[int], int]) -> None:
        self.messages: list[dict[str, Any]] = []
        self.descriptors: list[int] = []
        self.calls: list[int] = []
        self._decide = decide
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(os.fspath(path))
        self._listener.listen()
        self._stop_read, self._stop_write = os.pipe()
        self._threads = [threading.Thread(target=self._accept)]

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self._stop_write)
        for thread in self._threads:
            thread.join(10)
        self._listener.close()
        for fd in (self._stop_read, *self.descriptors):
            os.close(fd)

    def _accept(self) -> None:
        while self._readable(self._listener.fileno()):
            connection, _ = self._listener.accept()
            with connection:
                text, control, _, _ = connection.recvmsg(1 << 16, socket.CMSG_SPACE(16 * 4))
                fds = array.array("i")
                for _, _, data in control:
                    fds.frombytes(data)
                self.descriptors += fds
                self.messages.append(json.loads(text))
            for fd in fds:
                thread = threading.Thread(target=self._serve, args=(fd,))
                self._threads.append(thread)
                thread.start()

    def _serve(self, fd: int) -> None:
        while self._readable(fd):
            notification = bytearray(80)
            try:
                fcntl.ioctl(fd, NOTIF_RECV, notification)
            except OSError:  # the caller was killed meanwhile
                continue
            number, _, _, call = struct.unpack_from("=QIIi", notification)
            self.calls.append(call)
            errno = self._decide(call)
            answer = struct.pack("=QqiI", number, 0, -errno, 0 if errno else CONTINUE)
            try:
                fcntl.ioctl(fd, NOTIF_SEND, answer)
            except OSError:
                continue

    def _readable(self, fd: int) -> bool:
        """Wait for `fd`; False when it, or the test, has ended."""
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        poll.register(self._stop_read, select.POLLIN)
        events = dict(poll.poll())
        return self._stop_read not in events and bool(events.get(fd, 0) & select.POLLIN)
