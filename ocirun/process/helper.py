"""The library's helper: a separate process that clones inits for a program with threads.

A program with threads cannot fork safely. It starts `ocirun init` once, which is sealed and has an
empty environment and no other open files, and sends it an order for each init over a socket pair:

    program                helper                         init, or its stage
      │ order, channel ──► │ clone3(CLONE_PARENT) ──────► │
      │ (record, cgroup v1)                              │
      │ bootstrapData, sendConfig ahead ───────────────► │
      │ ◄─────────────────────────── procCloned, procStage │
      │ procRun ahead ─────────────────────────────────► │
      │   (the rest as without a helper)                 │

CLONE_PARENT makes init a child of the program, which waits for it like for any child. The helper
keeps no state about containers, and they survive it. Init shares no memory with the program,
because the helper was executed; an order only says where to clone to. Messages are sent ahead where
nothing has to happen between them: each wait is two switches between processes. The order is sent
before the cgroup is made, unless init is to be born in that (cgroup v2).

If the program changes what children inherit (ids, capabilities, namespaces, limits), the helper is
replaced (situation.py). A fork of the program starts its own. The helper ends with its program.

Source: clone(2), unix(7); docs/performance.md#what-the-library-costs.
"""

from __future__ import annotations

import _socket
import _thread
import os
import select
import sys
import time
from fcntl import F_DUPFD_CLOEXEC, fcntl

from ocirun.errors import SetupError, doing
from ocirun.kernel.process import posix_spawn
from ocirun.process.situation import situation
from ocirun.spec.jsontext import compact

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, Final

HELPER_FD: Final = 3  # the helper's end of the socket pair
FD_BYTES: Final = 4
LAST_WORDS_BYTES: Final = 4096
LAST_WORDS_MS: Final = 1000  # how long to wait for a dead helper's exit
TRIES: Final = 2  # to find or start one that is alive


class Helper:
    """A helper process, our child; owns its pidfd, a socket, and the read end of its stderr."""

    __slots__ = ("_pidfd", "_socket", "_stderr_fd", "maker", "situation")

    def __init__(self, command: str, inherited: tuple[object, ...]) -> None:
        self.situation = inherited
        self.maker = os.getpid()
        kind = _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC
        self._socket, theirs = _socket.socketpair(_socket.AF_UNIX, kind)
        # Kernel: each packet then carries its sender's pid. Order: set before the first packet.
        theirs.setsockopt(_socket.SOL_SOCKET, _socket.SO_PASSCRED, 1)
        self._stderr_fd, stderr_fd = os.pipe()
        self._pidfd = -1
        try:
            pid = _in_lasting_thread(lambda: _execute(command, theirs.fileno(), stderr_fd))
            self._pidfd = os.pidfd_open(pid)
        except BaseException:
            self.abandon()
            raise
        finally:
            theirs.close()
            os.close(stderr_fd)

    def is_alive(self) -> bool:
        """Return whether the helper still runs."""
        return not _is_readable(self._pidfd)

    def send(self, order: dict[str, Any], fds: Sequence[int]) -> None:
        """Send an order with `fds` (borrowed).

        Raises:
            BrokenPipeError, ConnectionResetError: the helper has died.
        """
        rights = b"".join(fd.to_bytes(FD_BYTES, sys.byteorder) for fd in fds)
        ancillary = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)]
        self._socket.sendmsg([os.fsencode(compact(order))], ancillary, _socket.MSG_NOSIGNAL)

    def last_words(self) -> str:
        """Return ": " and the last line of its stderr; "" if there was no output."""
        if not _is_readable(self._pidfd, LAST_WORDS_MS) or not _is_readable(self._stderr_fd):
            return ""
        lines = os.read(self._stderr_fd, LAST_WORDS_BYTES).splitlines()
        return f": {os.fsdecode(lines[-1])}" if lines else ""

    def end(self) -> None:
        """Ask the helper to exit after its pending orders, wait for it, and reap it."""
        from contextlib import suppress  # cold: once for each program

        # Closing alone is not enough: a fork of this program may also hold our end.
        with suppress(BrokenPipeError, ConnectionResetError):
            self._socket.send(b"", _socket.MSG_NOSIGNAL)
        with suppress(ChildProcessError):  # another part of the program waits for all children
            os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED)
        self.abandon()

    def abandon(self) -> None:
        """Close our descriptors of it."""
        self._socket.close()
        for fd in (self._pidfd, self._stderr_fd):
            if fd >= 0:
                os.close(fd)
        self._pidfd = self._stderr_fd = -1


_lock = _thread.allocate_lock()
_helpers: list[Helper] = []  # one, or none
_exits: list[bool] = []  # not empty once the fork and exit handlers are registered


def order_clone(command: str, order: dict[str, Any], fds: Sequence[int]) -> None:
    """Have a helper clone a process that inherits what a child of this thread would.

    `command` is the launcher's path; helper_main.py defines the orders. `fds` (borrowed) are the
    process's end of the channel, and further descriptors of the order. The process itself replies,
    over its channel; if the helper dies first, the channel reaches end of file.

    Raises:
        SetupError: the helper cannot be started.
    """
    now, words = situation(), ""
    with _lock, doing(f"asking {command} init for a process"):
        for _ in range(TRIES):
            helper = _find(command, now)
            try:
                helper.send(order, fds)
            except (BrokenPipeError, ConnectionResetError):
                words = helper.last_words()
            else:
                return
    raise SetupError(f"{command} init ends as soon as it is started{words}")


def words_of_dead() -> str:
    """Return ": " and the last line of output of a dead helper; "" if there was none."""
    with _lock:
        return _helpers[0].last_words() if _helpers else ""


def _find(command: str, now: tuple[object, ...]) -> Helper:
    if _helpers:
        helper = _helpers[0]
        if helper.maker != os.getpid():  # we were forked without os.fork
            _helpers.pop().abandon()
        elif helper.situation != now or not helper.is_alive():
            _helpers.pop().end()
    if not _helpers:
        if not _exits:
            import atexit

            _exits.append(True)
            os.register_at_fork(after_in_child=_forget)
            atexit.register(close)
        with doing(f"starting {command} init"):
            _helpers.append(Helper(command, now))
    return _helpers[0]


def close() -> None:
    """End the helper, if any; the next container starts another."""
    with _lock:
        while _helpers:
            helper = _helpers.pop()
            helper.end() if helper.maker == os.getpid() else helper.abandon()


def _forget() -> None:
    """After a fork: leave the helper to the parent, and replace the lock."""
    global _lock  # noqa: PLW0603  # a thread of the parent may hold it
    _lock = _thread.allocate_lock()
    while _helpers:
        _helpers.pop().abandon()


def _execute(command: str, socket_fd: int, stderr_fd: int) -> int:
    """Start the helper, connected to `socket_fd`, with `stderr_fd` as stderr; return its pid."""
    from ocirun.process.hooks import ALL_SIGNALS  # cold: once for each program

    null_fd = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    fds = [null_fd]
    try:
        # Above their targets, so that no dup2 overwrites one that is not moved yet.
        fds += [fcntl(fd, F_DUPFD_CLOEXEC, HELPER_FD + 1) for fd in (null_fd, socket_fd, stderr_fd)]
        places = ((fds[1], 0), (fds[1], 1), (fds[3], 2), (fds[2], HELPER_FD))
        return posix_spawn(
            command,
            [command, "init"],
            {},
            file_actions=[(os.POSIX_SPAWN_DUP2, fd, place) for fd, place in places],
            setsigmask=(),
            # The program's ignored signals are not inherited: with SIGCHLD ignored, no hook could
            # be waited for.
            setsigdef=ALL_SIGNALS,
        )
    finally:
        for fd in fds:
            os.close(fd)


def _in_lasting_thread(start: Callable[[], int]) -> int:
    """Return the pid of the child that `start` creates, with a long-lived thread as parent.

    Kernel: PR_SET_PDEATHSIG of init fires when the parent thread exits, which is the thread that
    started the helper. From any thread but the main one, we start it in a thread that exits at
    once: its children pass to the first live thread, the main thread.
    """
    if _thread.get_native_id() == os.getpid():
        return start()
    found: list[int | BaseException] = []
    thread_ids: list[int] = []
    done = _thread.allocate_lock()
    done.acquire()

    def work() -> None:
        thread_ids.append(_thread.get_native_id())
        try:
            found.append(start())
        except BaseException as error:  # noqa: BLE001  # re-raised in the calling thread
            found.append(error)
        done.release()

    _thread.start_new_thread(work, ())
    done.acquire()
    while os.path.exists(f"/proc/self/task/{thread_ids[0]}"):
        time.sleep(0.0005)
    if isinstance(found[0], BaseException):
        raise found[0]
    return found[0]


def _is_readable(fd: int, milliseconds: int = 0) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return any(events & select.POLLIN for _, events in poll.poll(milliseconds))
