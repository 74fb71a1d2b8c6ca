"""The parent's half of create: it brings init into being and answers it, message by message.

Source: architecture of this project; messages.py draws the conversation.
"""

from __future__ import annotations

import os

from ocirun.errors import SetupError, doing
from ocirun.kernel.process import pidfd_getfd
from ocirun.process.channel import PeerGone, channel_pair
from ocirun.process.idmap import write_id_maps
from ocirun.process.messages import (
    BOOTSTRAP_DATA,
    LIMITS_RAISED,
    LISTENER_TAKEN,
    PROC_GATE,
    PROC_HOOKS,
    PROC_LIMITS,
    PROC_READY,
    PROC_RESUME,
    PROC_RUN,
    PROC_SECCOMP,
    SEND_CONFIG,
)
from ocirun.process.namespaces import open_namespaces
from ocirun.process.spawn import execute_stage, fork_init, fork_stage, receive_cloned

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Final

    from ocirun.process.channel import Tell
    from ocirun.process.request import Request
    from ocirun.spec.shapes import Config

SIGKILL: Final = 9


class Parent:
    """The conversation with one init; owns the channel and the pidfd.

    `pid` is init's host pid once `spawn` has returned.
    """

    __slots__ = (
        "_channel",
        "_config",
        "_request",
        "_their_channel",
        "born_in_cgroup",
        "pid",
        "pidfd",
    )

    def __init__(self, config: Config, request: Request, tell: Tell | None) -> None:
        self._config = config
        self._request = request
        self._channel, self._their_channel = channel_pair(tell)
        self.pid = 0
        self.pidfd = -1
        self.born_in_cgroup = False

    def spawn(self, command: str | None, cgroup_fd: int | None) -> None:
        """Bring init into being, up to its waiting for sendConfig.

        `command` is the launcher to execute where this process may not fork; None forks.
        `cgroup_fd` (borrowed) is the cgroup v2 it should be born in; `born_in_cgroup` tells
        whether the kernel did that.
        """
        namespaces = self._request.namespaces
        joined = open_namespaces(namespaces.paths)
        bootstrap = {
            "flags": namespaces.clone_flags,
            "join": list(joined),
            "rootfs": self._request.rootfs,
            "into_cgroup": cgroup_fd is not None,
            "kept_fds": self._request.kept_fds,
            "time_offsets": self._time_offsets(),
        }
        try:
            if command is None and not namespaces.need_stage:
                self.pid, self.pidfd, self.born_in_cgroup = fork_init(
                    self._channel,
                    self._their_channel,
                    (namespaces.clone_flags, cgroup_fd),
                    self._request.rootfs,
                )
                self._say(BOOTSTRAP_DATA, bootstrap, list(joined.values()))
            else:
                fds = list(joined.values())
                if cgroup_fd is not None:
                    fds.append(cgroup_fd)
                self._spawn_by_stage(command, bootstrap, fds)
        finally:
            self._their_channel.close()
            for fd in joined.values():
                os.close(fd)
        if "user" in namespaces.new:
            linux = self._config["linux"]
            write_id_maps(self.pid, linux["uidMappings"], linux["gidMappings"])

    def _spawn_by_stage(
        self, command: str | None, bootstrap: dict[str, Any], fds: list[int]
    ) -> None:
        if command is None:
            stage_pid = fork_stage(self._channel, self._their_channel)
        else:
            stage_pid = execute_stage(self._their_channel, command)
        self._their_channel.close()
        self._say(BOOTSTRAP_DATA, bootstrap, fds)
        cloned = receive_cloned(self._channel, stage_pid)
        self.pid, self.pidfd, self.born_in_cgroup = cloned

    def _time_offsets(self) -> dict[str, Any] | None:
        if "time" not in self._request.namespaces.new:
            return None
        offsets: dict[str, Any] = self._config["linux"].get("timeOffsets") or {}
        return offsets

    def send_config(self, fds: list[int]) -> None:
        """Send config.json and the request; `fds` in init's order, borrowed."""
        body = {"config": self._config, "request": self._request.body()}
        self._say(SEND_CONFIG, body, fds)

    def assemble(self) -> None:
        """Wait until init has understood, then have it assemble the root and wait for that."""
        self._hear(PROC_READY)
        self._say(PROC_RUN)
        self._hear(PROC_HOOKS)

    def enter(self, take_listener: Callable[[int], None]) -> None:
        """Have init enter the root and come to its gate, and give it what it asks for on its way.

        `take_listener` brings a seccomp filter's descriptor (borrowed) to its agent.
        """
        self._say(PROC_RESUME)
        while True:
            name, body = self._hear(PROC_LIMITS, PROC_SECCOMP, PROC_GATE)
            if name == PROC_GATE:
                break
            if name == PROC_LIMITS:
                from ocirun.process.limits import raise_hard_limits

                raise_hard_limits(self.pid, [(int(number), int(hard)) for number, hard in body])
                self._say(LIMITS_RAISED)
            else:
                self._fetch_listener(int(body), take_listener)
                self._say(LISTENER_TAKEN)
        self._channel.close()

    def _fetch_listener(self, number: int, take_listener: Callable[[int], None]) -> None:
        with doing("fetching the seccomp listener of init"):
            fd = pidfd_getfd(self.pidfd, number)
        try:
            take_listener(fd)
        finally:
            os.close(fd)

    def abandon(self) -> None:
        """Kill init, whatever it is doing, and reap it."""
        self._channel.close()
        if self.pid:
            from _signal import pidfd_send_signal

            # A child that nobody has waited for can always be signalled, be it a zombie.
            pidfd_send_signal(self.pidfd, SIGKILL)
            os.waitpid(self.pid, 0)

    def close(self) -> None:
        """Let go of init without harm."""
        if self.pidfd >= 0:
            os.close(self.pidfd)
            self.pidfd = -1

    def _say(self, name: str, body: object = None, fds: list[int] | None = None) -> None:
        try:
            self._channel.send(name, body, fds or [])
        except PeerGone:
            # Init has hung up; what it said before that, if anything, is still to be read.
            self._hear(name)

    def _hear(self, *expected: str) -> tuple[str, Any]:
        try:
            name, body, _ = self._channel.receive(*expected)
        except PeerGone as error:
            raise self._gone(" or ".join(expected)) from error
        return name, body

    def _gone(self, name: str) -> SetupError:
        return SetupError(
            f"unable to start container process: container init died at {name} "
            "without saying why (was it OOM-killed? the memory limit may be too low)"
        )


def write_pid_file(path: str, pid: int) -> None:
    """Write `pid` in decimal, without a newline, complete from the moment the file is there."""
    directory, _, name = path.rpartition("/")
    temporary = f"{directory}/.{name}.{pid}" if directory else f".{name}.{pid}"
    with doing(f"writing the pid file {path}"):
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            os.write(fd, str(pid).encode())
        finally:
            os.close(fd)
        os.rename(temporary, path)
