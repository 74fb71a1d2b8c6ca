"""The container's fds 0 to 2, chosen by a program that uses the library.

It replaces a Foreground, which copies: here the container gets the files themselves.
"""

from __future__ import annotations

import _socket
import os

from ocirun.errors import doing
from ocirun.process.foreground import host_root
from ocirun.process.sockets import receive_fd

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirun.process.request import Request
    from ocirun.spec.types import Config


class GivenStdio:
    """Three descriptors for one container or process, or a terminal.

    `init_fds` are passed to init, as with a Foreground. It owns those of `fds` that are in `owned`,
    and `close` closes them; the others are the caller's. With `terminal` there are none: a socket
    is created, and `master` is the terminal's master after `connect`.
    """

    __slots__ = ("_receiver", "fds", "init_fds", "master", "owned", "pipes")

    makes_pipes = False

    def __init__(
        self, fds: list[int], owned: list[int], pipes: list[int], *, terminal: bool = False
    ) -> None:
        self.fds = fds
        self.owned = owned
        self.pipes = pipes
        self.init_fds: list[int] = []
        self.master = -1
        self._receiver = -1
        if terminal:
            with doing("making a socket for the terminal"):
                ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_STREAM)
            self._receiver = ours.detach()
            self.fds = [theirs.detach()]
            self.owned = [*self.fds]

    def prepare(self, config: Config, request: Request) -> None:
        """Change the owner of the pipes to root of the user namespace, before init is cloned.

        Init changes it to the container's user, who may then open /dev/stdout (stdio.py).
        """
        self.init_fds = [*self.fds]
        if self.pipes and os.geteuid() == 0 and request.namespaces.has("user"):
            linux = config.get("linux", {})
            uid, gid = host_root(linux.get("uidMappings")), host_root(linux.get("gidMappings"))
            with doing(f"giving the container's stdio to {uid}:{gid}, root in its user namespace"):
                for fd in self.pipes:
                    os.fchown(fd, uid, gid)

    def connect(self) -> None:
        """Close the descriptors that init has copies of, and receive the terminal's master.

        Raises:
            ConnectionError: init went away without sending one.
        """
        while self.owned:
            os.close(self.owned.pop())
        if self._receiver >= 0:
            try:
                self.master = receive_fd(self._receiver)
            finally:
                os.close(self._receiver)
                self._receiver = -1

    def close(self) -> None:
        """Close everything it owns, after a failed create. May be called twice."""
        while self.owned:
            os.close(self.owned.pop())
        for fd in (self._receiver, self.master):
            if fd >= 0:
                os.close(fd)
        self._receiver = self.master = -1
