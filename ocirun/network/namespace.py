"""Enter another network namespace with one thread, and return.

Source: network_namespaces(7), setns(2).
"""

from __future__ import annotations

import os

from ocirun.kernel.process import CLONE_NEWNET, setns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

# A thread may be in another network namespace than its process.
OWN: str = "/proc/thread-self/ns/net"


def open_own_namespace() -> int:
    """Return a descriptor of this thread's network namespace, which the caller closes."""
    return os.open(OWN, os.O_RDONLY | os.O_CLOEXEC)


def open_namespace_of(host_pid: int) -> int:
    """Return a descriptor of the network namespace of `host_pid`, which the caller closes."""
    return os.open(f"/proc/{host_pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def open_user_namespace_of(host_pid: int) -> int:
    """Return a descriptor of the user namespace of `host_pid`, the caller's; -1 if it is ours."""
    fd = os.open(f"/proc/{host_pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    found, own = os.fstat(fd), os.stat("/proc/self/ns/user")
    if (found.st_dev, found.st_ino) != (own.st_dev, own.st_ino):
        return fd
    os.close(fd)
    return -1


def is_own_namespace(fd: int) -> bool:
    """Return whether `fd` (borrowed) is this thread's network namespace."""
    found, own = os.fstat(fd), os.stat(OWN)
    return (found.st_dev, found.st_ino) == (own.st_dev, own.st_ino)


class inside:  # noqa: N801  # reads as a sentence: with inside(fd): …
    """Enter the network namespace `fd` (borrowed) during the block, with this thread only.

    Raises:
        OSError: setns(2) failed.
    """

    __slots__ = ("_fd", "_own_fd")

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._own_fd = -1

    def __enter__(self) -> None:
        self._own_fd = open_own_namespace()
        try:
            setns(self._fd, CLONE_NEWNET)
        except BaseException:
            os.close(self._own_fd)
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            setns(self._own_fd, CLONE_NEWNET)
        finally:
            os.close(self._own_fd)
