"""One `criu swrk`: a request goes there, notifications come, a response ends it.

    ocirun                       criu swrk 3
      │ DUMP, PRE_DUMP, RESTORE ──► │
      │ ◄── NOTIFY pre-dump, …      │   each is answered before CRIU goes on
      │ NOTIFY, success or not ───► │
      │ ◄──────────────── response  │   with success or with the reason why not
      └─ hangs up                   └─ exits

The messages are packets of a socket pair, CRIU's end of which is its descriptor 3. Descriptors in
options that are not said to be inherited are numbers of ours: CRIU opens /proc/PID/fd/N, with the
pid that the kernel reports for the creator of the socket pair.

Source: criu.org/RPC, criu.org/RPC#swrk; unix(7), SO_PEERCRED.
"""

from __future__ import annotations

import _socket
import _thread
import os
import sys
from errno import ENOENT
from fcntl import F_DUPFD_CLOEXEC, fcntl

from ocirun.criu.log import error_lines, errors_in, plain
from ocirun.criu.messages import FEATURE_CHECK, NOTIFY, TYPE_NAMES, VERSION, message, parse
from ocirun.errors import SetupError, doing
from ocirun.kernel.prctl import set_no_new_privs
from ocirun.kernel.process import posix_spawn, start_thread
from ocirun.kernel.which import find_in_path
from ocirun.process.hooks import ALL_SIGNALS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, Final

    OnNotify = Callable[[str, int, list[int]], None]

OLDEST: Final = (3, 15, 0)
CHANNEL_FD: Final = 3
FIRST_INHERITED_FD: Final = 4
MOST_INHERITED: Final = 16
LARGEST_MESSAGE: Final = 1 << 16
MOST_WORDS: Final = 1 << 12
# Security: CRIU is configured by its options and by the configuration files that docs/checkpoint.md
# names, not by what else is around. LD_* and the like were dropped by the launcher.
NOT_FOR_CRIU: Final = frozenset({"CRIU_CONFIG_FILE", "CRIU_LIBS_DIR", "NOTIFY_SOCKET"})


class WorkFolder:
    """Where CRIU writes its log: `fd` (borrowed) is the folder, `path` what people call it."""

    __slots__ = ("fd", "log", "path")

    def __init__(self, fd: int, path: str, log: str) -> None:
        self.fd = fd
        self.path = path
        self.log = log


class Criu:
    """One running CRIU; owns its end of the socket pair and the process.

    `inherited` (borrowed) are descriptors it has from FIRST_INHERITED_FD on, in this order.
    `no_new_privs` is for what it makes: CRIU before 3.19 does not restore that itself.
    """

    __slots__ = ("_connection", "_words_fd", "_work", "pid")

    def __init__(
        self,
        work: WorkFolder | None = None,
        inherited: Sequence[int] = (),
        *,
        no_new_privs: bool = False,
    ) -> None:
        program = find_criu()
        self._work = work
        self._connection, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
        self._words_fd = os.memfd_create("criu", os.MFD_CLOEXEC)
        moved: list[int] = []
        try:
            # Order: all are put out of the way first, for they may lie where others must go.
            for fd in (theirs.fileno(), *inherited):
                moved += [fcntl(fd, F_DUPFD_CLOEXEC, CHANNEL_FD + 1 + MOST_INHERITED)]
            actions = [(os.POSIX_SPAWN_DUP2, self._words_fd, place) for place in (1, 2)]
            actions += [
                (os.POSIX_SPAWN_DUP2, fd, place) for place, fd in enumerate(moved, CHANNEL_FD)
            ]
            spawn = _spawn_bound if no_new_privs else _spawn
            with doing(f"starting {program}"):
                self.pid = spawn(program, actions)
        except BaseException:
            self._connection.close()
            os.close(self._words_fd)
            raise
        finally:
            theirs.close()
            for fd in moved:
                os.close(fd)

    def __enter__(self) -> Criu:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> int:
        """Hang up, wait for CRIU's end, and return its exit code (negative: a signal)."""
        code = 0
        if self.pid:
            self._connection.close()
            code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
            os.close(self._words_fd)
            self.pid = 0
        return code

    def converse(self, kind: int, on_notify: OnNotify | None = None, **fields: Any) -> Any:  # noqa: ANN401
        """Send the request `kind` with `fields`, answer notifications, return the response.

        `on_notify` is called with each notification's name, its pid (0: none) and its
        descriptors, which are closed after. What it raises is reported to CRIU, which then undoes
        its work, and is raised here once it has done so.

        Raises:
            SetupError: CRIU failed, with what its log says; or it is gone.
        """
        raised: BaseException | None = None
        self._send(kind, message("Request", type=kind, **fields))
        while True:
            response, fds = self._receive(kind, raised)
            if not response.success:
                if raised:
                    raise raised
                raise self._failure(kind, response)
            if response.type != NOTIFY:
                break
            try:
                if on_notify:
                    name = os.fsdecode(response.notify.script)
                    on_notify(name, response.notify.pid, fds)
            except BaseException as error:  # noqa: BLE001  # raised again when CRIU has undone
                raised = error
            finally:
                for fd in fds:
                    os.close(fd)
            self._send(kind, message("Request", type=NOTIFY, notify_success=raised is None))
        if raised:
            raise raised
        if response.type != kind:
            words = TYPE_NAMES.get(response.type, str(response.type))
            raise SetupError(f"criu answered {words} where {TYPE_NAMES[kind]} was asked for")
        return response

    def _send(self, kind: int, request: Any) -> None:  # noqa: ANN401  # made at run time
        try:
            self._connection.send(request.SerializeToString(), _socket.MSG_NOSIGNAL)
        except OSError as error:
            raise self._death(kind) from error

    def _receive(self, kind: int, raised: BaseException | None) -> tuple[Any, list[int]]:
        """Receive one message and its descriptors, which the caller closes."""
        try:
            data, ancillary, _, _ = self._connection.recvmsg(
                LARGEST_MESSAGE, _socket.CMSG_SPACE(16), _socket.MSG_CMSG_CLOEXEC
            )
        except OSError as error:
            raise raised or self._death(kind) from error
        if not data:
            raise raised or self._death(kind)
        fds = [
            int.from_bytes(rights[at : at + 4], sys.byteorder)
            for level, type_, rights in ancillary
            if (level, type_) == (_socket.SOL_SOCKET, _socket.SCM_RIGHTS)
            for at in range(0, len(rights) - 3, 4)
        ]
        try:
            return parse("Response", data), fds
        except ValueError as error:
            for fd in fds:
                os.close(fd)
            raise SetupError(
                f"criu answered {TYPE_NAMES[kind]} with no message: {error}"
            ) from error

    def _failure(self, kind: int, response: Any) -> SetupError:  # noqa: ANN401
        """Return why CRIU failed, in one line: containerd shows only one."""
        errno = response.cr_errno
        words = [f"criu failed: type {TYPE_NAMES[kind]} errno {errno}"]
        if errno > 0:
            words.append(os.strerror(errno).lower())
        if response.cr_errmsg:
            words.append(plain(os.fsdecode(response.cr_errmsg)))
        return SetupError("; ".join(words + self._reasons()), errno)

    def _death(self, kind: int) -> SetupError:
        reasons = self._reasons()
        code = self.close()
        how = f"was killed by signal {-code}" if code < 0 else f"exited with status {code}"
        what = f"criu failed: type {TYPE_NAMES[kind]}: it {how} before it answered"
        return SetupError("; ".join([what, *reasons]))

    def _reasons(self) -> list[str]:
        """Return the errors of its log (else of its stderr) and the path of the log."""
        if self._work:
            lines = error_lines(self._work.fd, self._work.log)
            if lines:
                return [*lines, f"log file: {self._work.path}/{self._work.log}"]
        return errors_in(os.pread(self._words_fd, MOST_WORDS, 0))


def _spawn(program: str, actions: list[Any]) -> int:
    return posix_spawn(
        program,
        ["criu", "swrk", str(CHANNEL_FD)],
        {name: text for name, text in os.environ.items() if name not in NOT_FOR_CRIU},
        file_actions=actions,
        setsigmask=(),
        setsigdef=ALL_SIGNALS,
    )


def _spawn_bound(program: str, actions: list[Any]) -> int:
    """Spawn it with no_new_privs set, from a thread that ends: we and our hooks stay free.

    Kernel: the bit belongs to a thread, cannot be taken back, and is inherited.
    """
    result: list[int | OSError] = []
    done = _thread.allocate_lock()
    done.acquire()

    def act() -> None:
        try:
            set_no_new_privs()
            result.append(_spawn(program, actions))
        except OSError as error:
            result.append(error)
        finally:
            done.release()

    try:
        start_thread(act, ())
    except RuntimeError as error:
        raise SetupError(f"starting {program}: {error}") from error
    done.acquire()
    [pid] = result
    if isinstance(pid, OSError):
        raise pid
    return pid


def find_criu() -> str:
    """Return the path of criu.

    Raises:
        SetupError: it is not there.
    """
    program = find_in_path("criu")
    if program is None:
        raise SetupError('exec: "criu": executable file not found in $PATH', ENOENT)
    return program


def ask_version() -> tuple[int, int, int]:
    """Return CRIU's version (major, minor, sublevel).

    Raises:
        SetupError: it is older than all that is asked of it here.
    """
    with Criu() as criu:
        version = criu.converse(VERSION).version
    found = (version.major_number, version.minor_number, version.sublevel)
    if found < OLDEST:
        message = ".".join(map(str, found))
        raise SetupError(f"criu {message} is too old: {OLDEST[0]}.{OLDEST[1]} or newer is needed")
    return found


def require_features(*, memory_tracking: bool, lazy_pages: bool) -> None:
    """Check that CRIU and this kernel support what is needed.

    Raises:
        SetupError: they cannot.
    """
    if not (memory_tracking or lazy_pages):
        return
    wanted = {"mem_track": memory_tracking, "lazy_pages": lazy_pages}
    with Criu() as criu:
        found = criu.converse(FEATURE_CHECK, features=wanted).features
    if memory_tracking and not found.mem_track:
        raise SetupError(
            "pre-dump and dumps with a parent need memory tracking, which this kernel does not have"
        )
    if lazy_pages and not found.lazy_pages:
        raise SetupError("lazy pages need userfaultfd, which this kernel does not have")
