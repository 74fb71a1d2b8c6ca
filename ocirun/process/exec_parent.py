"""The parent's half of exec. exec_child.py draws the conversation."""

from __future__ import annotations

import os

from ocirun.kernel.process import CLONE_NEWCGROUP, CLONE_NEWNS
from ocirun.process.channel import PeerGone
from ocirun.process.conversation import Conversation
from ocirun.process.messages import PROC_RESUME
from ocirun.process.namespaces import FLAGS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from ocirun.process.channel import Tell
    from ocirun.process.request import Request
    from ocirun.spec.types import Config

# Names in /proc/PID/ns that are not the specification's.
PROC_NAMES: Final = {"mount": "mnt", "network": "net"}


class ExecParent(Conversation):
    """The conversation with a process that joins a running container."""

    __slots__ = ("_init_fds",)

    def __init__(self, config: Config, request: Request, tell: Tell | None) -> None:
        super().__init__(config, request, tell)
        self._init_fds: list[int] = []

    def look_at_init(self, init_pidfd: int, init_pid: int) -> None:
        """Find out what there is to join, and open what a setns with the pidfd does not reach.

        `init_pidfd` is borrowed for as long as `spawn` takes. The plan depends on what is found.
        """
        request = self._request
        flags = flags_of(init_pid)
        self._init_fds = [init_pidfd]
        # Kernel: where cgroup namespaces are limits of delegation (nsdelegate, every host of
        # systemd's), nobody in one may be born in a cgroup from outside of it (ENOENT): the
        # process joins it when it is there.
        if flags & CLONE_NEWCGROUP:
            flags &= ~CLONE_NEWCGROUP
            request.cgroup_namespace = True
            path = f"/proc/{init_pid}/ns/cgroup"
            self._init_fds.append(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
        # Security: a root that no mount namespace of the container's begins with is not entered by
        # joining namespaces.
        if not flags & CLONE_NEWNS or not request.namespaces.has("mount"):
            request.root_sent = True
            path = f"/proc/{init_pid}/root"
            self._init_fds.append(os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
        request.join_flags = flags

    def spawn(
        self,
        command: str | None,
        cgroup_fd: int | None,
        ahead: list[int] | None = None,  # noqa: ARG002  # its stage takes the configuration
    ) -> None:
        """Create the process inside the container's namespaces."""
        try:
            self._spawn_by_stage(command, cgroup_fd, [], self._init_fds)
        finally:
            self._close_init_fds()

    def _close_init_fds(self) -> None:
        for fd in self._init_fds[1:]:
            os.close(fd)
        self._init_fds = []

    def close(self) -> None:
        """Close what is open of init and the process; both live on."""
        self._close_init_fds()
        super().close()

    def resume(self) -> None:
        """Allow execve, and wait until it has happened, or the process has ended in failure.

        Raises:
            InitError: something on the way to execve failed.
        """
        self._send(PROC_RESUME)
        try:
            self._channel.receive()
        except PeerGone:  # execve has closed the descriptor, or its failure
            self._channel.close()


def flags_of(init_pid: int) -> int:
    """Return the setns flags of the namespaces in which init is and we are not.

    config.json is not consulted: the caller of exec may be in namespaces of its own, and CRIU puts
    init into a time namespace.

    Kernel: entering the user namespace one is in already is refused (EINVAL).

    Raises:
        OSError: ENOENT when init is gone.
    """
    flags = 0
    for kind, flag in FLAGS.items():
        name = PROC_NAMES.get(kind, kind)
        try:
            ours = os.stat(f"/proc/self/ns/{name}")
        except FileNotFoundError:  # this kernel has no such namespaces
            continue
        if os.stat(f"/proc/{init_pid}/ns/{name}").st_ino != ours.st_ino:
            flags |= flag
    return flags
