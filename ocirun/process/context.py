"""What init knows and holds while it carries out its plan."""

from __future__ import annotations

import os

from ocirun.errors import warn
from ocirun.rootfs.context import CgroupView, MountContext

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ocirun.process.channel import Channel
    from ocirun.process.hook_outputs import HookOutputs
    from ocirun.process.request import Request
    from ocirun.process.rlimits import Limit
    from ocirun.security.capabilities import CapabilitySets
    from ocirun.spec.types import Config, User


class InitContext:
    """What init knows (config, request) and has open (descriptors) until its execve.

    Descriptors are -1 until a step opens them; all are close-on-exec, so that none of them
    outlives execve. `init_pidfd` and `init_root_fd` are of the container that exec joins. `pty` is
    master, slave and name of the terminal between its steps. `unattended`: as in messages.py.
    """

    __slots__ = (
        "_sets",
        "channel",
        "config",
        "console_fd",
        "context",
        "cwd_entered",
        "environment",
        "hook_outputs",
        "init_pidfd",
        "init_root_fd",
        "landlock_fd",
        "limits",
        "nodes_fd",
        "own_executable",
        "procfs_fd",
        "program",
        "pty",
        "request",
        "root_fd",
        "unattended",
    )

    def __init__(self, channel: Channel, config: Config, request: Request) -> None:
        self.channel = channel
        self.config = config
        self.request = request
        self.root_fd = self.procfs_fd = self.console_fd = self.nodes_fd = -1
        self.init_pidfd = self.init_root_fd = self.landlock_fd = -1
        self.pty = (-1, -1, "")
        self._sets: CapabilitySets | None = None
        self.cwd_entered = False
        self.unattended = False
        self.environment: dict[bytes, bytes] = {}
        self.program = b""
        self.hook_outputs: HookOutputs | None = None
        self.limits: list[Limit] = []
        self.own_executable = (0, 0)
        self.context = MountContext(
            userns=request.namespaces.has("user"),
            cgroup=CgroupView(
                request.hierarchies,
                unified=any(not one.controllers for one in request.hierarchies),
            ),
            cgroupns="cgroup" in request.namespaces.new,
            mount_label=request.mount_label,
        )

    @property
    def user(self) -> User:
        """`process.user`, uid and gid 0 where it is left out."""
        return {"uid": 0, "gid": 0, **self.config["process"].get("user", {})}

    @property
    def keeps_groups(self) -> bool:
        """Whether the caller's groups stay, as crun's annotation asks for (podman: keep-groups).

        Security: groups that the user namespace does not map cannot be seen in the container, and
        grant what they grant.
        """
        annotations = self.config.get("annotations") or {}
        return annotations.get("run.oci.keep_original_groups") == "1"

    def capability_sets(self) -> CapabilitySets:
        """Return the sets of the program, and warn of what cannot be granted."""
        if self._sets is None:
            from ocirun.kernel.capability import capget
            from ocirun.security.capabilities import CapabilitySets

            # Security: a configuration that names no capabilities gives none.
            self._sets = CapabilitySets(self.config["process"].get("capabilities") or {})
            for sentence in self._sets.leave_out(capget()[1]):
                warn(sentence)
        return self._sets

    def close(self) -> None:
        """Close the root and its mounts: we are in it, and nothing is opened through them now."""
        os.close(self.root_fd)
        self.root_fd = -1
        self.context.kernel_mounts.close()

    def state(self, status: str) -> dict[str, Any]:
        """The state that hooks inside the container read: the pid is the one seen in there."""
        state: dict[str, Any] = {
            "ociVersion": self.config["ociVersion"],
            "id": self.request.container_id,
            "status": status,
            "pid": os.getpid(),
            "bundle": self.request.bundle,
        }
        if self.config.get("annotations"):
            state["annotations"] = self.config["annotations"]
        return state
