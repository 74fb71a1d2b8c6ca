"""What connects a container in the foreground with the caller's terminal and files.

    process.terminal   a pseudo-terminal, made inside; ours goes raw and is copied both ways
    otherwise          pipes that belong to the container's user, copied to and from our own files

Security: the container never has a descriptor of the caller's. Through one it could change the
file's mode or owner, write to what is open for reading, or go on reading when we have ended.

copying.py copies, in threads that are started after the last clone.

Source: pty(7), termios(3), pipe(7); docs/runc-compat/protocols.md#foreground-mode.
"""

from __future__ import annotations

import _socket
import os
import select
from fcntl import ioctl

from ocirun.errors import doing
from ocirun.process.copying import Copying
from ocirun.process.sockets import receive_fd
from ocirun.process.stdio import is_null, is_same_file
from ocirun.process.wait import block_signals, wait_for

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    from ocirun.process.request import Request
    from ocirun.spec.types import Config

TIOCGWINSZ: Final = 0x5413
TIOCSWINSZ: Final = 0x5414
WINSIZE_BYTES: Final = 8


class Foreground:
    """The connection of one container; owns its descriptors.

    `init_fds` are what init is given: a socket to send the terminal's master to, or its fds 0 to
    2. They are closed by `connect`. In its block signals are held back for `wait_for`; at the end
    of the block our terminal is as it was.
    """

    __slots__ = (
        "_copying",
        "_master",
        "_receiver",
        "_routes",
        "_saved",
        "_terminal",
        "init_fds",
    )

    makes_pipes = True

    def __init__(self) -> None:
        self.init_fds: list[int] = []
        self._receiver = -1
        self._master = -1
        self._terminal = -1  # the caller's, for its size; keys come from fd 0 only
        self._routes: list[tuple[int, int]] = []  # read from, write to
        self._saved: list[Any] = []
        self._copying: Copying | None = None

    def __enter__(self) -> Foreground:
        block_signals()
        return self

    def __exit__(self, *_: object) -> None:
        self.restore()

    def wait_for(self, pid: int, pidfd: int) -> int:
        """Wait for the end of our child `pid` and of its output; return its exit status.

        As process.wait.wait_for, with the terminal as it was before.
        """
        status = wait_for(pid, pidfd, self)
        self.finish()
        return status

    def prepare(self, config: Config, request: Request) -> None:
        """Make what the container needs, before it is there."""
        with doing("copying stdio: poll"):
            # A filter around us may refuse it: no program must run whose output would be lost.
            select.poll().poll(0)
        if request.terminal:
            self._terminal = find_terminal()
            ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_STREAM)
            self._receiver = ours.detach()
            self.init_fds = [theirs.detach()]
        else:
            with doing("making pipes for stdio"):
                self._make_pipes()
            if request.namespaces.has("user"):
                self._give_to_root(config)

    def _make_pipes(self) -> None:
        stdin, to_stdin = os.pipe()
        from_stdout, stdout = os.pipe()
        if is_null(0):
            os.close(to_stdin)  # its end is there at once, without a thread
        else:
            self._routes.append((0, to_stdin))
        self._routes.append((from_stdout, 1))
        if is_same_file(1, 2):
            # As after 2>&1: one pipe keeps the order of what is written to the two.
            stderr = os.dup(stdout)
        else:
            from_stderr, stderr = os.pipe()
            self._routes.append((from_stderr, 2))
        self.init_fds = [stdin, stdout, stderr]

    def _give_to_root(self, config: Config) -> None:
        """Make root of the user namespace their owner, who can make the container's user that."""
        if os.geteuid() != 0:  # our own id is what is mapped
            return
        linux = config.get("linux", {})
        uid, gid = host_root(linux.get("uidMappings")), host_root(linux.get("gidMappings"))
        with doing(f"giving the container's stdio to {uid}:{gid}, root in its user namespace"):
            for fd in self.init_fds:
                os.fchown(fd, uid, gid)
                if uid == 0:
                    # The maps of a namespace that is joined are unknown: let everybody who has
                    # these descriptors open them again.
                    os.fchmod(fd, 0o666)

    def connect(self) -> None:
        """Begin copying, now that init has its ends."""
        for fd in self.init_fds:
            os.close(fd)
        self.init_fds = []
        if self._receiver >= 0:
            self._master = receive_fd(self._receiver)
            os.close(self._receiver)
            self._routes = [(0, self._master), (self._master, 1)]
            self._set_up_terminals()
        self._copying = Copying(self._master)
        self._copying.start(self._routes)

    def _set_up_terminals(self) -> None:
        """Leave keys to the container's terminal; ends of lines too, unless output is captured.

        Captured output has the lines as the program writes them, as with runc, and what others
        write to our terminal meanwhile keeps its carriage returns.
        """
        import termios  # cold: a person sits there
        import tty

        captured = not os.isatty(1)
        if captured:
            modes = termios.tcgetattr(self._master)
            modes[tty.OFLAG] &= ~termios.ONLCR
            termios.tcsetattr(self._master, termios.TCSANOW, modes)
        if os.isatty(0):
            self._saved = termios.tcgetattr(0)
            tty.setraw(0, termios.TCSANOW)
            if captured:
                modes = termios.tcgetattr(0)
                modes[tty.OFLAG] = self._saved[tty.OFLAG]
                termios.tcsetattr(0, termios.TCSANOW, modes)
        self.copy_size()

    def copy_size(self) -> bool:
        """Set the container's terminal to the size of ours; False when there are not both."""
        if self._master < 0 or self._terminal < 0 or not os.isatty(self._terminal):
            return False
        ioctl(self._master, TIOCSWINSZ, ioctl(self._terminal, TIOCGWINSZ, b"\0" * WINSIZE_BYTES))
        return True

    def finish(self) -> None:
        """Wait for the last output, then set our terminal back as it was."""
        if self._copying:
            self._copying.finish()
        self.restore()

    def restore(self) -> None:
        """Set our terminal back as it was."""
        if self._saved:
            import termios

            termios.tcsetattr(0, termios.TCSADRAIN, self._saved)
            self._saved = []


def find_terminal() -> int:
    """Return a descriptor of the caller's terminal: one of our fds 0 to 2, else /dev/tty, else -1.

    Without one the container still gets a terminal, of the size that its config names.
    """
    for fd in (0, 1, 2):
        if os.isatty(fd):
            return fd
    try:
        return os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return -1


def host_root(mappings: Any) -> int:  # noqa: ANN401  # a list of IDMapping, or None
    """Return the host's id of the container's root; our own where the maps do not tell."""
    for mapping in mappings or ():
        if mapping["containerID"] == 0:
            return int(mapping["hostID"])
    return os.geteuid()
