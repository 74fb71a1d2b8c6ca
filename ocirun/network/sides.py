"""The two ends of a container's network: the host's namespace and the container's."""

from __future__ import annotations

import os

from ocirun.errors import SetupError, doing
from ocirun.network.namespace import (
    is_own_namespace,
    open_namespace_of,
    open_own_namespace,
    open_user_namespace_of,
)
from ocirun.network.netlink import Netlink


class Sides:
    """Both network namespaces, open, with a netlink socket in each; the caller calls `close`.

    `host` and `host_fd` belong to this thread's namespace, `container` and `container_fd` to that
    of init `pid`. The open descriptor keeps the namespace and its devices if init dies. Until
    `enter`, which needs more privileges, `container` is `host`. `user_fd` is init's user namespace,
    -1 if that is ours.
    """

    __slots__ = ("container", "container_fd", "host", "host_fd", "user_fd")

    def __init__(self, pid: int) -> None:
        with doing("opening the container's network namespace"):
            self.host_fd = open_own_namespace()
            self.container_fd = self.user_fd = -1
            self.container = self.host = Netlink()
            try:
                self.container_fd = open_namespace_of(pid)
                self.user_fd = open_user_namespace_of(pid)
            except BaseException:
                self.close()
                raise

    def enter(self) -> None:
        """Open the netlink socket in the container's namespace.

        Raises:
            SetupError: the kernel refused.
        """
        with doing("opening a socket in the container's network namespace"):
            self.container = Netlink(self.container_fd)

    def require_two(self, what: str) -> None:
        """Check that the two namespaces differ; `what` is the attempted action, for the message.

        Raises:
            SetupError: they are the same.
        """
        if is_own_namespace(self.container_fd):
            raise SetupError(f"{what}: the container's network namespace is the host's")

    def close(self) -> None:
        """Close namespaces and sockets. May be called twice."""
        self.host.close()
        self.container.close()
        for fd in (self.host_fd, self.container_fd, self.user_fd):
            if fd >= 0:
                os.close(fd)
        self.host_fd = self.container_fd = self.user_fd = -1
