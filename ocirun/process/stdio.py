"""The container's fds 0 to 2, and which of them its user owns.

A program opens its stdio again, as /dev/stdout for example, if it may: in many images log files
are links to it. So the user owns what can be given away without harm:

    a terminal, or pipes, that ocirun has made   always
    of the caller (create, --detach):
      a pipe, a socket                           yes: nobody finds it by a name
      a file or a named FIFO open for writing    yes: it can be written to anyway
      one that is open for reading only          no: its owner could write to it
      a terminal or another character device     no: it is somebody's, or the whole host's
      a block device, a folder                   no

runc and crun give away everything but /dev/null.

Source: fchown(2), proc_pid_fd(5); DECISIONS.md, 2026-11-28.
"""

from __future__ import annotations

import os
import stat
from errno import EBADF, EINVAL, EPERM, EROFS
from fcntl import F_GETFL, fcntl

from ocirun.errors import UsageError
from ocirun.process.sockets import connect_unix

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Final

    from ocirun.process.foreground import Foreground
    from ocirun.process.given_stdio import GivenStdio
    from ocirun.process.request import Request
    from ocirun.spec.types import Config

DEV_NULL: Final = os.makedev(1, 3)
STDIO: Final = (0, 1, 2)


class Stdio:
    """What a process in a container gets as its stdio: borrowed descriptors.

    `fds` are its fds 0 to 2; without them it has our own. `console` is a socket that it sends its
    terminal's master to, -1 for none.
    """

    __slots__ = ("console", "fds")

    def __init__(self, fds: Sequence[int] = (), console: int = -1) -> None:
        self.fds = fds
        self.console = console

    def sent(self) -> list[int]:
        """Return the descriptors that are sent to the process, as `take_stdio` takes them."""
        return [*self.fds] if self.console < 0 else [self.console]


def open_stdio(
    config: Config,
    request: Request,
    console_socket: str | None,
    foreground: Foreground | GivenStdio | None,
    *,
    inherits: bool = True,
) -> Stdio:
    """Decide on the container's stdio, and write that into `request`.

    Returns:
        A connection to `console_socket`, which the caller closes; or what `foreground` has made
        and closes itself; or nothing, for a container that inherits our own stdio. Where it does
        not (`inherits`: the library's helper clones it), that is sent.

    Raises:
        UsageError: the options and `process.terminal` contradict each other.
        SetupError: the socket does not take us.
    """
    _check_terminal(request.terminal, console_socket, foreground)
    stdio = Stdio()
    if foreground:
        foreground.prepare(config, request)
        fds = foreground.init_fds
        if request.terminal != (len(fds) == 1):  # a program's own streams may be for the other
            raise UsageError(
                "process.terminal is set: a program gives terminal=True or a console_socket, and "
                "stdin, stdout and stderr cannot be chosen"
                if request.terminal
                else "process.terminal is not set: there is no terminal to hand out"
            )
        stdio = Stdio(console=fds[0]) if request.terminal else Stdio(fds)
    elif console_socket:
        stdio.console = connect_unix(console_socket)
    elif not inherits:
        stdio = Stdio(STDIO)
    request.stdio_sent = bool(stdio.fds)
    if stdio.console >= 0 or (foreground and foreground.makes_pipes):
        request.given_stdio = [*STDIO]
    else:
        request.given_stdio = fds_to_give(stdio.fds or STDIO)
    return stdio


def _check_terminal(
    terminal: bool, console_socket: str | None, foreground: Foreground | GivenStdio | None
) -> None:
    """Refuse what runc refuses, in its words."""
    if terminal and not foreground and not console_socket:
        raise UsageError("cannot allocate tty if ocirun will detach without setting console socket")
    if console_socket and (foreground or not terminal):
        raise UsageError("cannot use console socket if ocirun will not detach or allocate tty")


def fds_to_give(fds: Sequence[int] = STDIO) -> list[int]:
    """Return which of fds 0 to 2 the container's user is to own; `fds` are their numbers here."""
    return [place for place, fd in zip(STDIO, fds, strict=True) if _may_be_given(fd)]


def _may_be_given(fd: int) -> bool:
    found = stat_of(fd)
    if found is None:  # closed: the caller runs us without it
        return False
    if stat.S_ISSOCK(found.st_mode):
        return True
    if not (stat.S_ISREG(found.st_mode) or stat.S_ISFIFO(found.st_mode)):
        return False
    # An O_PATH descriptor reads as O_RDONLY here.
    if fcntl(fd, F_GETFL) & os.O_ACCMODE != os.O_RDONLY:
        return True
    return os.readlink(f"/proc/self/fd/{fd}").startswith("pipe:")


def give(fds: list[int], uid: int) -> None:
    """Make the user `uid` the owner of `fds`.

    What cannot change hands (a read-only file system, a file that is not ours to give) stays as
    it is.
    """
    for fd in fds:
        found = stat_of(fd)
        if found is None or found.st_uid == uid:
            continue
        try:
            os.fchown(fd, uid, -1)
        except OSError as error:
            if error.errno not in (EPERM, EROFS, EINVAL):
                raise


def is_null(fd: int) -> bool:
    """Return whether `fd` is open and is the null device."""
    found = stat_of(fd)
    return found is not None and stat.S_ISCHR(found.st_mode) and found.st_rdev == DEV_NULL


def is_same_file(one: int, other: int) -> bool:
    """Return whether two descriptors are open on the same file in the same way, as after `2>&1`."""
    found, there = stat_of(one), stat_of(other)
    if found is None or there is None:
        return False
    return (found.st_dev, found.st_ino, fcntl(one, F_GETFL)) == (
        there.st_dev,
        there.st_ino,
        fcntl(other, F_GETFL),
    )


def stat_of(fd: int) -> os.stat_result | None:
    """Return what fstat(2) says of `fd`; None when it is closed."""
    try:
        return os.fstat(fd)
    except OSError as error:
        if error.errno != EBADF:
            raise
        return None
