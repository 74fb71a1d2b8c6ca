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
from ocirun.process.spawn import fork_init, order_init
from ocirun.process.userns_maps import write_id_maps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ocirun.process.channel import Tell
    from ocirun.process.request import Request
    from ocirun.spec.types import Config


class CreateParent(Conversation):
    """The conversation with one init.

    `unattended`, set before `spawn`: there is nothing to say between `run_ahead` and `enter`. It
    stays true if init is told so (messages.py).
    """

    __slots__ = ("unattended",)

    def __init__(self, config: Config, request: Request, tell: Tell | None) -> None:
        super().__init__(config, request, tell)
        self.unattended = False

    def order(self, command: str, cgroup_fd: int | None = None) -> None:
        """Have the helper clone init, which needs no stage; the arguments are those of `spawn`.

        May be called before `spawn`. Init waits for its configuration, and ends if we do.
        """
        clone = (self._request.namespaces.clone_flags, cgroup_fd)
        order_init(self._their_channel, clone, self._request.rootfs, command)
        self._ordered = True

    def needs_stage(self, command: str | None) -> bool:
        """Return whether a stage clones init; `command` as in `spawn`."""
        # A helper's init inherits nothing; it is the stage that takes what is to be kept.
        kept = command is not None and self._request.kept_fds
        return self._request.namespaces.need_stage or bool(kept)

    def spawn(
        self, command: str | None, cgroup_fd: int | None, ahead: list[int] | None = None
    ) -> None:
        """Create init, as Conversation.spawn; write the maps of its user namespace."""
        namespaces = self._request.namespaces
        staged = self.needs_stage(command)
        told = command is not None and ahead is not None and not staged
        self.unattended = self.unattended and told
        try:
            if staged:
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
        bootstrap = ({"join": list(namespaces.fds)}, list(namespaces.fds.values()))
        if command is None:
            inherited = self._inherited(command)
            self._knows_config = inherited is not None
            self.pid, self.pidfd, self.born_in_cgroup = fork_init(
                self._channel,
                self._their_channel,
                (namespaces.clone_flags, cgroup_fd),
                self._request.rootfs,
                inherited,
            )
        else:
            if not self._ordered:
                self.order(command, cgroup_fd)
            if ahead is not None:
                self._send_ahead(BOOTSTRAP_DATA, *bootstrap)
                body = {**self._body(), "unattended": self.unattended}
                self._send_ahead(SEND_CONFIG, body, ahead)
            self._receive_ordered()
        if BOOTSTRAP_DATA not in self._ahead:
            self._send(BOOTSTRAP_DATA, *bootstrap)

    def run_ahead(self) -> None:
        """Have init assemble the root as soon as it is ready."""
        self._send_ahead(PROC_RUN)

    def resume_ahead(self) -> None:
        """Have init enter the root as soon as it is assembled. After run_ahead."""
        if not self.unattended:
            self._send_ahead(PROC_RESUME)

    def wait_until_ready(self) -> None:
        """Wait until init has understood, and is in its cgroups and namespaces."""
        if not self.unattended:
            self._receive(PROC_READY)

    def assemble(self) -> None:
        """Have init assemble the root, and wait for that."""
        if self.unattended:
            return
        if PROC_RUN not in self._ahead:
            self._send(PROC_RUN)
        self._receive(PROC_HOOKS)

    def enter(self, take_listener: Callable[[int], None]) -> None:
        """Have init enter the root and reach its gate; `take_listener` as in wait_for_gate."""
        if not self.unattended and PROC_RESUME not in self._ahead:
            self._send(PROC_RESUME)
        self.wait_for_gate(take_listener)
        self._channel.close()
