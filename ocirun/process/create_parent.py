"""The parent's half of create: it brings init into being and answers it, message by message.

Source: ARCHITECTURE.md#the-story; ocirun/process/messages.py.
"""

from __future__ import annotations

from ocirun.process.conversation import Conversation
from ocirun.process.messages import (
    BOOTSTRAP_DATA,
    PROC_HOOKS,
    PROC_READY,
    PROC_RESUME,
    PROC_RUN,
    SEND_CONFIG,
)
from ocirun.process.spawn import fork_init
from ocirun.process.userns_maps import write_id_maps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ocirun.process.channel import Tell
    from ocirun.process.request import Request
    from ocirun.spec.types import Config


class CreateParent(Conversation):
    """The conversation with one init."""

    __slots__ = ("_staged",)

    def __init__(self, config: Config, request: Request, tell: Tell | None) -> None:
        super().__init__(config, request, tell)
        self._staged = False

    def spawn(self, command: str | None, cgroup_fd: int | None) -> None:
        """Bring init into being, up to its waiting for sendConfig.

        `command` is the launcher to execute where this process may not fork; None forks.
        `cgroup_fd` (borrowed) is the cgroup v2 it should be born in; `born_in_cgroup` tells
        whether the kernel did that.
        """
        self._staged = command is not None or self._request.namespaces.need_stage
        try:
            if self._staged:
                joined = self._request.namespaces.fds
                bootstrap = {"join": list(joined), "into_cgroup": cgroup_fd is not None}
                fds = [*joined.values(), *([] if cgroup_fd is None else [cgroup_fd])]
                self._spawn_by_stage(command, bootstrap, fds)
            else:
                self._fork(cgroup_fd)
        finally:
            self._their_channel.close()
            self._request.namespaces.close()
        if "user" in self._request.namespaces.new:
            linux = self.config["linux"]
            write_id_maps(self.pid, linux["uidMappings"], linux["gidMappings"])

    def _fork(self, cgroup_fd: int | None) -> None:
        namespaces = self._request.namespaces
        clone = (namespaces.clone_flags, cgroup_fd)
        self.pid, self.pidfd, self.born_in_cgroup = fork_init(
            self._channel, self._their_channel, clone, self._request.rootfs
        )
        self._say(BOOTSTRAP_DATA, {"join": list(namespaces.fds)}, list(namespaces.fds.values()))

    def send_config(self, fds: list[int]) -> None:
        """Send config.json and the request, unless the stage has had them, and the descriptors.

        `fds` in init's order, borrowed.
        """
        self._say(SEND_CONFIG, None if self._staged else self._body(), fds)

    def wait_until_ready(self) -> None:
        """Wait until init has understood, and is in its cgroups and namespaces."""
        self._hear(PROC_READY)

    def assemble(self) -> None:
        """Have init assemble the root, and wait for that."""
        self._say(PROC_RUN)
        self._hear(PROC_HOOKS)

    def enter(self, take_listener: Callable[[int], None]) -> None:
        """Let init enter the root and reach its gate; `take_listener` as in wait_for_gate."""
        self._say(PROC_RESUME)
        self.wait_for_gate(take_listener)
        self._channel.close()
