"""What the parents of create and of exec share: a channel, a child, and the end of both."""

from __future__ import annotations

import os

from ocirun.errors import InitDied, OcirunError, ProtocolError, doing
from ocirun.kernel.process import pidfd_getfd
from ocirun.process.channel import PeerGone, channel_pair
from ocirun.process.clone import reap
from ocirun.process.messages import (
    BOOTSTRAP_DATA,
    LIMITS_RAISED,
    LISTENER_TAKEN,
    PROC_GATE,
    PROC_LIMITS,
    PROC_SECCOMP,
    SEND_CONFIG,
)
from ocirun.process.spawn import fork_stage, order_stage, receive_cloned, receive_ordered

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Final

    from ocirun.process.channel import Tell
    from ocirun.process.init import Inherited
    from ocirun.process.plan import Plan
    from ocirun.process.request import Request
    from ocirun.spec.types import Config

SIGKILL: Final = 9
MAX_FD: Final = (1 << 31) - 1


class Conversation:
    """The parent's end of the channel to one child; owns the channel and the child's pidfd.

    `pid` is the child's host pid once it is there. `born_in_cgroup` is whether the kernel has
    cloned it into its cgroup v2. With a `plan`, set before `spawn`, a forked child takes over
    that, the configuration and the request as they are in our memory; else it is sent the last
    two, and makes its own plan.

    The child is sent some messages ahead, before it waits for them (`_ahead` has the names).
    """

    __slots__ = (
        "_ahead",
        "_channel",
        "_knows_config",
        "_ordered",
        "_request",
        "_their_channel",
        "born_in_cgroup",
        "config",
        "pid",
        "pidfd",
        "plan",
    )

    def __init__(self, config: Config, request: Request, tell: Tell | None) -> None:
        self.config = config
        self._request = request
        self._channel, self._their_channel = channel_pair(tell)
        self.pid = 0
        self.pidfd = -1
        self.born_in_cgroup = False
        self.plan: Plan | None = None
        self._knows_config = False
        self._ahead: set[str] = set()
        self._ordered = False  # from a helper, which has not answered yet

    def spawn(
        self, command: str | None, cgroup_fd: int | None, ahead: list[int] | None = None
    ) -> None:
        """Create the child, which then waits for sendConfig.

        `command` is the launcher to execute where this process may not fork; None forks.
        `cgroup_fd` (borrowed) is the cgroup v2 it should be born in; `born_in_cgroup` shows
        whether the kernel did that. `ahead` are the descriptors of sendConfig if that may be sent
        before it is known which process the child is.
        """
        raise NotImplementedError

    def send_config(self, fds: list[int]) -> None:
        """Send config.json and the request, unless the child has them, and the descriptors.

        `fds` in the child's order, borrowed.
        """
        if SEND_CONFIG not in self._ahead:
            self._send(SEND_CONFIG, None if self._knows_config else self._body(), fds)

    def wait_for_gate(self, take_listener: Callable[[int], None]) -> None:
        """Wait for procGate, and answer the child's requests until then.

        `take_listener` brings a seccomp filter's descriptor (borrowed) to its agent.
        """
        while True:
            name, body = self._receive(PROC_LIMITS, PROC_SECCOMP, PROC_GATE)
            if name == PROC_GATE:
                return
            if name == PROC_LIMITS:
                self._raise_limits(body)
                self._send(LIMITS_RAISED)
            else:
                self._fetch_listener(body, take_listener)
                self._send(LISTENER_TAKEN)

    def _raise_limits(self, wanted: object) -> None:
        """Raise the hard limits that are both `wanted` and in config.json.

        Security: what init says is not to be trusted with more.
        """
        from ocirun.process.rlimits import limits_of, raise_hard_limits

        wanted = wanted if isinstance(wanted, list) else []
        limits = limits_of(self.config["process"].get("rlimits") or [])
        raise_hard_limits(
            self.pid, [(kind, hard) for kind, _, hard in limits if [kind, hard] in wanted]
        )

    def _fetch_listener(self, number: object, take_listener: Callable[[int], None]) -> None:
        if not isinstance(number, int) or not 0 <= number <= MAX_FD:
            raise ProtocolError(f"{PROC_SECCOMP} came without the number of a descriptor")
        with doing("fetching the seccomp listener"):
            fd = pidfd_getfd(self.pidfd, number)
        try:
            take_listener(fd)
        finally:
            os.close(fd)

    def abandon(self) -> None:
        """Kill the child, whatever it is doing, and reap it. May be called twice."""
        if self._ordered:
            try:
                self._receive_ordered()
            except OcirunError:  # there is no child: the helper could not clone it
                self.pid = 0
        self._channel.close()
        self._their_channel.close()
        if self.pid:
            from _signal import pidfd_send_signal

            try:
                pidfd_send_signal(self.pidfd, SIGKILL)
                reap(self.pid)
            except ProcessLookupError:  # reaped already by the program that we are a library of
                return
            finally:
                self.close()
                self.pid = 0

    def _receive_ordered(self) -> None:
        """Receive which process the helper has cloned."""
        try:
            self.pid, self.pidfd, self.born_in_cgroup = receive_ordered(self._channel)
        except OcirunError:
            self._ordered = False
            raise
        self._ordered = False

    def take_pidfd(self) -> int:
        """Return the child's pidfd, which is the caller's from here."""
        pidfd, self.pidfd = self.pidfd, -1
        return pidfd

    def close(self) -> None:
        """Close the child's pidfd; it lives on."""
        if self.pidfd >= 0:
            os.close(self.pidfd)
            self.pidfd = -1

    def _spawn_by_stage(
        self, command: str | None, cgroup_fd: int | None, join: list[str], fds: list[int]
    ) -> None:
        """Start the stage, which clones the child; `command` and `cgroup_fd` as in `spawn`.

        `join` names the namespaces among `fds` (borrowed), which the stage is sent, and with them
        what an executed one cannot inherit.
        """
        inherited = self._inherited(command)
        bootstrap: dict[str, Any] = {"join": join, "into_cgroup": cgroup_fd is not None}
        bootstrap["kept_sent"] = command is not None
        if not inherited:
            bootstrap |= self._body()
        self._knows_config = True
        fds = [*fds, *([] if cgroup_fd is None else [cgroup_fd])]
        if command is None:
            stage_pid = fork_stage(self._channel, self._their_channel, inherited)
        else:
            stage_pid = order_stage(self._channel, self._their_channel, command)
            fds = [*fds, *self._request.kept_fds]
        self._their_channel.close()
        self._send(BOOTSTRAP_DATA, bootstrap, fds)
        self.pid, self.pidfd, self.born_in_cgroup = receive_cloned(self._channel, stage_pid)

    def _inherited(self, command: str | None) -> Inherited | None:
        """Return what a child that is forked (`command` is None) need not be sent."""
        if command is not None or self.plan is None:
            return None
        return self.config, self._request, self.plan

    def _body(self) -> dict[str, Any]:
        return {"config": self.config, "request": self._request.body()}

    def _send_ahead(self, name: str, body: object = None, fds: list[int] | None = None) -> None:
        """Send a message that the child does not wait for yet."""
        self._ahead.add(name)
        try:
            self._channel.send(name, body, fds or [])
        except PeerGone:  # it has hung up; what is received next says why
            return

    def _send(self, name: str, body: object = None, fds: list[int] | None = None) -> None:
        try:
            self._channel.send(name, body, fds or [])
        except PeerGone:
            # The child has hung up; what it said before that, if anything, is still to be read.
            self._receive(name)

    def _receive(self, *expected: str) -> tuple[str, Any]:
        try:
            name, body, _ = self._channel.receive(*expected)
        except PeerGone as error:
            raise InitDied(
                "unable to start container process: container init died at "
                f"{' or '.join(expected)} without saying why"
            ) from error
        return name, body
