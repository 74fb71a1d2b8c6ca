"""The parent's half of create: it brings init into being and answers it, message by message.

Source: architecture of this project; messages.py draws the conversation.
"""

from __future__ import annotations

import os

from ocirun.errors import SetupError, doing
from ocirun.process.channel import PeerGone, channel_pair
from ocirun.process.idmap import write_id_maps
from ocirun.process.messages import (
    BOOTSTRAP_DATA,
    LIMITS_RAISED,
    PROC_GATE,
    PROC_HOOKS,
    PROC_LIMITS,
    PROC_READY,
    PROC_RESUME,
    PROC_RUN,
    SEND_CONFIG,
)
from ocirun.process.spawn import execute_stage, fork_init, fork_stage, reap, receive_cloned

TYPE_CHECKING = False
if TYPE_CHECKING:
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
        "_staged",
        "_their_channel",
        "born_in_cgroup",
        "pid",
        "pidfd",
    )

    def __init__(self, config: Config, request: Request, tell: Tell | None) -> None:
        self._config = config
        self._request = request
        self._channel, self._their_channel = channel_pair(tell)
        self._staged = False
        self.pid = 0
        self.pidfd = -1
        self.born_in_cgroup = False

    def spawn(self, command: str | None, cgroup_fd: int | None) -> None:
        """Bring init into being, up to its waiting for sendConfig.

        `command` is the launcher to execute where this process may not fork; None forks.
        `cgroup_fd` (borrowed) is the cgroup v2 it should be born in; `born_in_cgroup` tells
        whether the kernel did that.
        """
        self._staged = command is not None or self._request.namespaces.need_stage
        try:
            if self._staged:
                self._spawn_by_stage(command, cgroup_fd)
            else:
                self._fork(cgroup_fd)
        finally:
            self._their_channel.close()
            self._request.namespaces.close()
        if "user" in self._request.namespaces.new:
            linux = self._config["linux"]
            write_id_maps(self.pid, linux["uidMappings"], linux["gidMappings"])

    def _fork(self, cgroup_fd: int | None) -> None:
        namespaces = self._request.namespaces
        clone = (namespaces.clone_flags, cgroup_fd)
        self.pid, self.pidfd, self.born_in_cgroup = fork_init(
            self._channel, self._their_channel, clone, self._request.rootfs
        )
        self._say(BOOTSTRAP_DATA, {"join": list(namespaces.fds)}, list(namespaces.fds.values()))

    def _spawn_by_stage(self, command: str | None, cgroup_fd: int | None) -> None:
        namespaces = self._request.namespaces
        bootstrap = {
            "join": list(namespaces.fds),
            "into_cgroup": cgroup_fd is not None,
            "kept_sent": command is not None,
            **self._body(),
        }
        fds = [*namespaces.fds.values(), *([] if cgroup_fd is None else [cgroup_fd])]
        if command is None:
            stage_pid = fork_stage(self._channel, self._their_channel)
        else:
            stage_pid = execute_stage(self._their_channel, command)
            fds += range(3, 3 + self._request.kept_fds)
        self._their_channel.close()
        self._say(BOOTSTRAP_DATA, bootstrap, fds)
        cloned = receive_cloned(self._channel, stage_pid)
        self.pid, self.pidfd, self.born_in_cgroup = cloned

    def _body(self) -> dict[str, Any]:
        return {"config": self._config, "request": self._request.body()}

    def send_config(self, fds: list[int]) -> None:
        """Send config.json and the request, unless the stage has had them, and the descriptors.

        `fds` in init's order, borrowed.
        """
        self._say(SEND_CONFIG, None if self._staged else self._body(), fds)

    def assemble(self) -> None:
        """Wait until init has understood, then have it assemble the root and wait for that."""
        self._hear(PROC_READY)
        self._say(PROC_RUN)
        self._hear(PROC_HOOKS)

    def enter(self) -> None:
        """Have init enter the root and come to its gate, its hard limits raised if it asks."""
        self._say(PROC_RESUME)
        name, body = self._hear(PROC_LIMITS, PROC_GATE)
        if name == PROC_LIMITS:
            from ocirun.process.limits import raise_hard_limits

            raise_hard_limits(self.pid, [(int(number), int(hard)) for number, hard in body])
            self._say(LIMITS_RAISED)
            self._hear(PROC_GATE)
        self._channel.close()

    def abandon(self) -> None:
        """Kill init, whatever it is doing, and reap it."""
        self._channel.close()
        if self.pid:
            from _signal import pidfd_send_signal

            try:
                pidfd_send_signal(self.pidfd, SIGKILL)
            except ProcessLookupError:  # reaped already by the program that we are a library of
                pass
            else:
                reap(self.pid)
        self.close()

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
