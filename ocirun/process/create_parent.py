"""The parent's half of create: it creates init and answers it, message by message.

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
from ocirun.process.spawn import fork_init, order_init, receive_ordered
from ocirun.process.userns_maps import write_id_maps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class CreateParent(Conversation):
    """The conversation with one init."""

    __slots__ = ()

    def spawn(
        self, command: str | None, cgroup_fd: int | None, ahead: list[int] | None = None
    ) -> None:
        """Create init, as Conversation.spawn; write the maps of its user namespace."""
        namespaces = self._request.namespaces
        try:
            # A helper's init inherits nothing; it is the stage that takes what is to be kept.
            if namespaces.need_stage or (command is not None and self._request.kept_fds):
                join = namespaces.fds
                self._spawn_by_stage(command, cgroup_fd, list(join), list(join.values()))
            else:
                self._clone(command, cgroup_fd, ahead)
        finally:
            self._their_channel.close()
            namespaces.close()
        if "user" in namespaces.new:
            linux = self.config["linux"]
            write_id_maps(self.pid, linux["uidMappings"], linux["gidMappings"])

    def _clone(self, command: str | None, cgroup_fd: int | None, ahead: list[int] | None) -> None:
        namespaces = self._request.namespaces
        clone = (namespaces.clone_flags, cgroup_fd)
        rootfs = self._request.rootfs
        bootstrap = ({"join": list(namespaces.fds)}, list(namespaces.fds.values()))
        if command is None:
            inherited = self._inherited(command)
            self._knows_config = inherited is not None
            cloned = fork_init(self._channel, self._their_channel, clone, rootfs, inherited)
        else:
            order_init(self._their_channel, clone, rootfs, command)
            if ahead is not None:
                self._send_ahead(BOOTSTRAP_DATA, *bootstrap)
                self._send_ahead(SEND_CONFIG, self._body(), ahead)
            cloned = receive_ordered(self._channel)
        self.pid, self.pidfd, self.born_in_cgroup = cloned
        if BOOTSTRAP_DATA not in self._ahead:
            self._send(BOOTSTRAP_DATA, *bootstrap)

    def run_ahead(self) -> None:
        """Have init assemble the root as soon as it is ready."""
        self._send_ahead(PROC_RUN)

    def resume_ahead(self) -> None:
        """Have init enter the root as soon as it is assembled. After run_ahead."""
        self._send_ahead(PROC_RESUME)

    def wait_until_ready(self) -> None:
        """Wait until init has understood, and is in its cgroups and namespaces."""
        self._receive(PROC_READY)

    def assemble(self) -> None:
        """Have init assemble the root, and wait for that."""
        if PROC_RUN not in self._ahead:
            self._send(PROC_RUN)
        self._receive(PROC_HOOKS)

    def enter(self, take_listener: Callable[[int], None]) -> None:
        """Have init enter the root and reach its gate; `take_listener` as in wait_for_gate."""
        if PROC_RESUME not in self._ahead:
            self._send(PROC_RESUME)
        self.wait_for_gate(take_listener)
        self._channel.close()
