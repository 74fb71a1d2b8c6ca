"""A host program that lives exactly as long as a container's init.

A keeper, pid 1 of its own pid namespace, starts the program and waits for init to end. When the
keeper ends, for any reason, the kernel kills all processes in its namespace, also background
processes of the program. So their pids need not be known, and none is left if the caller or the
keeper is killed.

Source: pid_namespaces(7), pidfd_open(2).
"""

from __future__ import annotations

import os
import sys
from fcntl import F_DUPFD_CLOEXEC, fcntl

from ocirun.kernel._native import ffi, lib
from ocirun.kernel.oserror import oserror
from ocirun.kernel.userns import WALL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

NOTICE_FD: Final = 3
FIRST_KEPT_FD: Final = 10  # above the program's descriptors
MESSAGE_BYTES: Final = 5  # a letter and an int
NOTICE: Final = b"1"


class Companion:
    """A started program and its keeper; `close` leaves both running.

    `pid` is the keeper's host pid. `told_fd` (messages) and `words_fd` (the program's stderr;
    output beyond the pipe's capacity is lost) can be polled.
    """

    __slots__ = ("_unread", "pid", "told_fd", "words_fd")

    def __init__(
        self,
        program: str,
        argv: list[str],
        *,
        init_pidfd: int,
        places: dict[int, str],
        userns_fd: int = -1,
        gives_notice: bool = False,
    ) -> None:
        """Start `program` (an absolute path).

        `places` maps namespaces (descriptors) to empty files on which the program, and no other
        process, sees them mounted. All descriptors are borrowed. With `userns_fd` the program runs
        in that user namespace, which is required without root. With `gives_notice` it writes "1" to
        the descriptor NOTICE_FD when it is ready.

        Raises:
            OSError: the kernel refused.
        """
        self._unread = b""
        self.told_fd, told = os.pipe2(os.O_CLOEXEC)
        self.words_fd, words = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        kept: list[int] = []
        try:
            try:
                lent = (told, words, self.words_fd, init_pidfd)
                kept.extend(fcntl(fd, F_DUPFD_CLOEXEC, FIRST_KEPT_FD) for fd in lent)
                told_kept, words_kept, _, init_kept = kept
                notice_fd = NOTICE_FD if gives_notice else -1
                variable = f"PATH={os.environ.get('PATH', '')}"
                pairs = [pair for fd in places for pair in (f"/proc/self/fd/{fd}", places[fd])]
                texts = [*pairs, program, variable, *argv]
                helper = lib.sys_accompany(
                    ffi.new("int[]", [userns_fd, init_kept, told_kept, words_kept, notice_fd]),
                    ffi.new("int[]", sorted(kept)),
                    len(kept),
                    ffi.new("char[]", b"\0".join(map(os.fsencode, texts))),
                    len(places),
                    len(argv),
                )
                if helper < 0:
                    raise oserror(ffi.errno, "clone3()")
            finally:
                for fd in (told, words, *kept):
                    os.close(fd)
            _reap(helper)
            self.pid = self._first_message(program)
        except BaseException:
            self.close()
            raise

    def _first_message(self, program: str) -> int:
        kind, value = self.message()
        if kind != "k":
            raise oserror(value, f"starting what keeps {program}")
        return value

    def message(self) -> tuple[str, int]:
        """Wait for the next message; return its letter and a number.

        k: the keeper's pid. f: the errno of a failed step. e: the program's wait status. 1: the
        program is ready. "": the keeper has ended.
        """
        while True:
            if self._unread == NOTICE:
                self._unread = b""
                return "1", 0
            if len(self._unread) == MESSAGE_BYTES:
                piece, self._unread = self._unread, b""
                return chr(piece[0]), int.from_bytes(piece[1:], sys.byteorder, signed=True)
            # No more than this message: poll does not see what was read already.
            piece = os.read(self.told_fd, MESSAGE_BYTES - len(self._unread) if self._unread else 1)
            if not piece:
                return "", 0
            self._unread += piece

    def words(self) -> bytes:
        """Return what the program has written to stderr so far."""
        try:
            return os.read(self.words_fd, 1 << 16)
        except BlockingIOError:
            return b""

    def close(self) -> None:
        """Close the pipes. May be called twice."""
        for fd in (self.told_fd, self.words_fd):
            if fd >= 0:
                os.close(fd)
        self.told_fd = self.words_fd = -1


def _reap(pid: int) -> None:
    try:
        os.waitpid(pid, WALL)
    except ChildProcessError:  # the program that uses the library reaped it first
        return
