"""The parent's half of exec. exec_child.py draws the conversation."""

from __future__ import annotations

import os

from ocirun.kernel.process import CLONE_NEWCGROUP
from ocirun.process.channel import PeerGone
from ocirun.process.conversation import Conversation
from ocirun.process.messages import PROC_RESUME, SEND_CONFIG
from ocirun.process.namespaces import FLAGS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from ocirun.process.namespaces import Namespaces

# Names in /proc/PID/ns that are not the specification's.
PROC_NAMES: Final = {"mount": "mnt", "network": "net"}


class ExecParent(Conversation):
    """The conversation with one process on its way into a running container."""

    __slots__ = ()

    def spawn(self, command: str | None, target: tuple[int, int], cgroup_fd: int | None) -> None:
        """Bring the process into being inside the container's namespaces.

        `target` is init's pidfd (borrowed, like `cgroup_fd`) and host pid. `command` as in
        Parent.spawn.
        """
        init_pidfd, init_pid = target
        flags = flags_of(self._request.namespaces, init_pid)
        given = [init_pidfd] if cgroup_fd is None else [init_pidfd, cgroup_fd]
        # Kernel: where cgroup namespaces are limits of delegation (nsdelegate, every host of
        # systemd's), nobody in one may be born in a cgroup from outside of it (ENOENT): the
        # process joins it when it is there.
        cgroupns_fd = -1
        if flags & CLONE_NEWCGROUP:
            flags &= ~CLONE_NEWCGROUP
            cgroupns_fd = os.open(f"/proc/{init_pid}/ns/cgroup", os.O_RDONLY | os.O_CLOEXEC)
            given.insert(1, cgroupns_fd)
        bootstrap = {
            "flags": flags,
            "into_cgroup": cgroup_fd is not None,
            "cgroup_namespace": cgroupns_fd >= 0,
        }
        try:
            self._spawn_by_stage(command, bootstrap, given)
        finally:
            if cgroupns_fd >= 0:
                os.close(cgroupns_fd)

    def send_config(self, fds: list[int]) -> None:
        """Send stdio and the descriptors of the cgroups, all borrowed: the process goes on."""
        self._say(SEND_CONFIG, None, fds)

    def resume(self) -> None:
        """Let it execve, and wait until it has, or has ended because it could not.

        Raises:
            InitError: something on the way to execve failed.
        """
        self._say(PROC_RESUME)
        try:
            self._channel.receive()
        except PeerGone:  # execve has closed the descriptor, or its failure
            self._channel.close()


def flags_of(namespaces: Namespaces, init_pid: int) -> int:
    """Give the setns flags of the namespaces that the container does not share with us.

    Kernel: entering the user namespace one is in already is refused (EINVAL).

    Raises:
        OSError: ENOENT when init is gone.
    """
    flags = 0
    for kind in (*namespaces.new, *namespaces.paths):
        name = PROC_NAMES.get(kind, kind)
        theirs, ours = os.stat(f"/proc/{init_pid}/ns/{name}"), os.stat(f"/proc/self/ns/{name}")
        if theirs.st_ino != ours.st_ino:
            flags |= FLAGS[kind]
    return flags
