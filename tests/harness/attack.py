"""An attacker beside the runtime: a process of the host that exchanges paths all the time.

It runs in the mount namespace of the tests: there a directory is no mount point, whatever a
container mounts on it, and can be renamed.

Source: renameat2(2), RENAME_EXCHANGE.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import signal
import struct
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from harness.machine import libc_call

AT_FDCWD = -100
IN_OPEN, IN_NONBLOCK = 0x20, 0o4000
RENAME_EXCHANGE = 2
RUN, PAUSE, PAUSED = 0, 1, 2


class Exchanger:
    """Exchanges each pair of `pairs` as fast as it goes, for the length of a block.

    `pause_s` is how long things stay as they are after each exchange. `exchanges` counts them.
    """

    def __init__(self, *pairs: tuple[Path, Path], pause_s: float = 0) -> None:
        self._pairs = [(os.fsencode(one), os.fsencode(other)) for one, other in pairs]
        self._pause_s = pause_s
        self._shared = mmap.mmap(-1, 16)  # what to do, how many exchanges
        self._pid = 0

    @property
    def exchanges(self) -> int:
        return int(struct.unpack_from("=Q", self._shared, 8)[0])

    def __enter__(self) -> Self:
        self._pid = os.fork()
        if self._pid == 0:
            try:
                self._exchange()
            finally:
                os._exit(1)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        if kind is None:
            assert self.exchanges > 0, "nothing was exchanged"

    def pause(self) -> None:
        """Hold still; every pair is as it was in the beginning, until `go`."""
        self._say(PAUSE)
        end = time.monotonic() + 10
        while self._said() != PAUSED:
            assert time.monotonic() < end, "the attacker does not answer"
            time.sleep(0)

    def go(self) -> None:
        """Go on exchanging."""
        self._say(RUN)

    def _said(self) -> int:
        return int(struct.unpack_from("=Q", self._shared)[0])

    def _say(self, word: int) -> None:
        struct.pack_into("=Q", self._shared, 0, word)

    def _exchange(self) -> None:
        renameat2 = ctypes.CDLL(None).renameat2
        number = 0
        parent = os.getppid()
        while os.getppid() == parent:
            for one, other in self._pairs:
                renameat2(AT_FDCWD, one, AT_FDCWD, other, RENAME_EXCHANGE)
            number += 1
            struct.pack_into("=Q", self._shared, 8, number)
            if number % 2 == 0 and self._said() != RUN:
                while (said := self._said()) != RUN:
                    if said == PAUSE:  # anew: it may have been RUN while we slept
                        self._say(PAUSED)
                    time.sleep(0.0001)
            if self._pause_s:
                time.sleep(self._pause_s)


class Opens:
    """Counts how often `files` are opened, whatever they are called by then; O_PATH does not count.

    Source: inotify(7), IN_OPEN.
    """

    def __init__(self, *files: Path) -> None:
        self._fd = libc_call("inotify_init1", IN_NONBLOCK)
        for file in files:
            libc_call("inotify_add_watch", self._fd, os.fsencode(file), IN_OPEN)

    def count(self) -> int:
        """Return how many there were since the beginning; may be asked once."""
        try:
            # Each event without a name has 16 bytes; like ones in a row are one.
            return len(os.read(self._fd, 1 << 16)) // 16
        except BlockingIOError:
            return 0
        finally:
            os.close(self._fd)
