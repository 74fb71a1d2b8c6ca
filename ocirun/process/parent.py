"""The parent's half of create: it brings init into being and answers it, message by message.

Source: architecture of this project; messages.py draws the conversation.
"""

from __future__ import annotations

import os

from ocirun.process.conversation import Conversation
from ocirun.process.idmap import write_id_maps
from ocirun.process.messages import (
    BOOTSTRAP_DATA,
    PROC_HOOKS,
    PROC_READY,
    PROC_RESUME,
    PROC_RUN,
    SEND_CONFIG,
)
from ocirun.process.namespaces import open_namespaces
from ocirun.process.spawn import execute_stage, fork_init, fork_stage, receive_cloned

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Final


SIGKILL: Final = 9


class Parent(Conversation):
    """The conversation with one init."""

    __slots__ = ()

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
            linux = self.config["linux"]
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
        offsets: dict[str, Any] = self.config["linux"].get("timeOffsets") or {}
        return offsets

    def send_config(self, fds: list[int]) -> None:
        """Send config.json and the request; `fds` in init's order, borrowed."""
        body = {"config": self.config, "request": self._request.body()}
        self._say(SEND_CONFIG, body, fds)

    def assemble(self) -> None:
        """Wait until init has understood, then have it assemble the root and wait for that."""
        self._hear(PROC_READY)
        self._say(PROC_RUN)
        self._hear(PROC_HOOKS)

    def enter(self, take_listener: Callable[[int], None]) -> None:
        """Have init enter the root and come to its gate; `take_listener` as in wait_for_gate."""
        self._say(PROC_RESUME)
        self.wait_for_gate(take_listener)
        self._channel.close()
