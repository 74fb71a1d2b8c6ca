"""`ocirun init`: the helper process. It clones inits, and stages of inits, for its parent.

helper.py starts it with its end of a socket pair as descriptor 3; started by hand it refuses. Each
packet is an order, an empty one the end.

    {"flags", "rootfs", "into_cgroup"}   clone init; descriptors: the channel, and the cgroup
    {"stage": true}                      clone the stage of an init; descriptor: the channel

Security: orders are accepted only from our parent, and only while it has the privileges with which
    it started us. So a program that drops privileges does not keep them through its helper.

Source: clone(2), unix(7); ocirun/process/helper.py draws the conversation.
"""

from __future__ import annotations

import _socket
import gc
import os
import select
import sys

from ocirun.errors import OcirunError, UsageError, doing
from ocirun.kernel.process import CLONE_PARENT
from ocirun.process.channel import Channel
from ocirun.process.clone import clone_init
from ocirun.process.helper import FD_BYTES, HELPER_FD
from ocirun.process.init import CANNOT_START, run_init, tell_error
from ocirun.process.messages import PROC_CLONED, PROC_STAGE
from ocirun.process.seal import keep_only
from ocirun.process.situation import privileges
from ocirun.process.stage import run_stage
from ocirun.security.executable import require_seal
from ocirun.spec.jsontext import parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final, NoReturn

UCRED_BYTES: Final = 12  # pid, uid, gid
INT_BYTES: Final = 4
MAX_ORDER_BYTES: Final = 64 << 10  # a path has 4 KiB at most, six times that in JSON
MAX_FDS: Final = 8


def main() -> NoReturn:
    """Execute the parent's orders until it sends an empty packet or ends.

    Raises:
        UsageError: descriptor 3 is not a socket that our parent made.
        SetupError: we are not sealed.
    """
    parent = os.getppid()
    if not _is_from(parent, HELPER_FD):
        raise UsageError("init is what ocirun starts by itself, it cannot be called by hand")
    require_seal()
    keep_only([HELPER_FD])
    # A new session, so that signals from the program's terminal do not reach us.
    os.setsid()
    os.chdir("/")
    _load()
    _serve(Orders(HELPER_FD, parent))
    os._exit(0)


def _load() -> None:
    """Import the modules that the plan of a usual container needs, once for all containers."""
    from ocirun.process.plan import plan_create
    from ocirun.process.request import Request
    from ocirun.spec.default import default_config

    config = default_config(cgroup_v2=True)
    plan_create(config, Request(config))
    # Memory: these objects are permanent; a garbage collection in init would copy their pages. And
    # here it would copy those of the image, which makes each clone3 slower.
    gc.freeze()


class Orders:
    """The source of orders: the socket `fd`, connected to the process `parent`."""

    def __init__(self, fd: int, parent: int) -> None:
        os.set_inheritable(fd, False)
        self._parent = parent
        self._rights = privileges(f"/proc/{parent}")
        self._pidfd = os.pidfd_open(parent)
        self._socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET, 0, fd)
        self._poll = select.poll()
        self._poll.register(fd, select.POLLIN)
        self._poll.register(self._pidfd, select.POLLIN)

    def receive(self) -> tuple[dict[str, Any], list[int]] | None:
        """Return the next order and its descriptors (the caller closes them); None at the end."""
        ready = [fd for fd, _ in self._poll.poll()]
        if self._pidfd in ready or os.getppid() != self._parent:
            return None
        space = _socket.CMSG_SPACE(MAX_FDS * FD_BYTES) + _socket.CMSG_SPACE(UCRED_BYTES)
        data, ancillary, _, _ = self._socket.recvmsg(
            MAX_ORDER_BYTES, space, _socket.MSG_CMSG_CLOEXEC
        )
        fds: list[int] = []
        sender = 0
        for _, kind, content in ancillary:
            numbers = [
                int.from_bytes(content[at : at + FD_BYTES], sys.byteorder)
                for at in range(0, len(content), FD_BYTES)
            ]
            if kind == _socket.SCM_RIGHTS:
                fds = numbers
            else:
                sender = numbers[0]
        if not data or sender != self._parent or self._rights != privileges(f"/proc/{sender}"):
            return None
        order: Any = parse(data, "order", "surrogateescape")
        return order, fds

    def close(self) -> None:
        """Close the descriptors that clones must not inherit."""
        self._socket.close()
        os.close(self._pidfd)


def _serve(orders: Orders) -> None:
    while (received := orders.receive()) is not None:
        order, fds = received
        channel = Channel(fds[0], trusted=True)
        try:
            if order.get("stage"):
                _clone_stage(orders, channel)
            else:
                _clone_init(orders, channel, order, fds[1] if order["into_cgroup"] else None)
        except (OcirunError, OSError) as error:
            tell_error(channel, error)
        finally:
            for fd in fds[1:]:
                os.close(fd)
            channel.close()


def _clone_stage(orders: Orders, channel: Channel) -> None:
    pid, pidfd, _ = clone_init(CLONE_PARENT, None)
    if pid == 0:
        try:
            orders.close()
            channel.send(PROC_STAGE, os.getpid())
            run_stage(channel)
        finally:
            os._exit(CANNOT_START)
    os.close(pidfd)


def _clone_init(
    orders: Orders, channel: Channel, order: dict[str, Any], cgroup_fd: int | None
) -> None:
    with doing(f"changing to the root {order['rootfs']}"):
        os.chdir(order["rootfs"])
    try:
        pid, pidfd, born_in_cgroup = clone_init(order["flags"] | CLONE_PARENT, cgroup_fd)
        if pid == 0:
            try:
                orders.close()
                # We report our own pid: the helper may die before it could.
                channel.send(PROC_CLONED, born_in_cgroup, [os.pidfd_open(os.getpid())])
                run_init(channel)
            finally:
                os._exit(CANNOT_START)
        os.close(pidfd)
    finally:
        os.chdir("/")


def _is_from(parent: int, fd: int) -> bool:
    """Return whether `fd` is a socket whose peer the process `parent` created (SO_PEERCRED)."""
    try:
        probe = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET, 0, fd)
    except OSError:
        return False
    try:
        credentials = probe.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, UCRED_BYTES)
    except OSError:
        return False
    finally:
        probe.detach()
    return int.from_bytes(credentials[:INT_BYTES], sys.byteorder) == parent
