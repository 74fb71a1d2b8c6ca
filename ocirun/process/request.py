"""What init must know beside config.json: the parent's decisions and the caller's options."""

from __future__ import annotations

from ocirun.cgroups.paths import Hierarchy
from ocirun.process.namespaces import Namespaces

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ocirun.spec.types import Config


class Request:
    """The decisions for one container; travels in sendConfig as `body()`.

    `rootfs` and `bundle` are absolute paths on the host. `hierarchies` holds the container's
    cgroups. `kept_fds` are the descriptors from 3 on
    that belong to the program, the first `listen_fds` of them for socket activation, named
    `listen_names`. `hook_outputs` names the descriptors, stdout or stderr, that hooks in init write
    to. `given_stdio` are those of fds 0 to 2 that its user is to own (stdio.py).
    `stdio_sent` says that descriptors for fds 0 to 2 come along; with `terminal` it is a socket for
    its master. `cgroup_join_fds` is how many descriptors init joins its
    cgroups through, and `bind_sources` are the indices of the mounts whose source the parent
    opened; `late_sources` of those whose source an earlier mount provides. `made_nodes` are the
    indices of the devices whose node it has made (made_nodes.py). `seccomp` is the compiled filter
    as prepare_filter gives it, or None, and `landlock` what security/landlock.py has prepared, or
    None. `mount_label` is linux.mountLabel, or "" where no SELinux
    would read it. `keyring` is the name of the session keyring.

    Of exec: `join_flags` are those of setns, `cgroup_namespace` and `root_sent` say that the
    descriptors of init's cgroup namespace and root come along.
    """

    __slots__ = (
        "bind_sources",
        "bundle",
        "cgroup_join_fds",
        "cgroup_namespace",
        "container_id",
        "given_stdio",
        "hierarchies",
        "hook_outputs",
        "join_flags",
        "joins",
        "kept_fds",
        "keyring",
        "landlock",
        "late_sources",
        "listen_fds",
        "listen_names",
        "made_nodes",
        "make_devices",
        "mount_label",
        "namespaces",
        "no_new_keyring",
        "no_pivot",
        "root_sent",
        "rootfs",
        "seccomp",
        "stdio_sent",
        "terminal",
    )

    def __init__(self, config: Config) -> None:
        self.namespaces = Namespaces(config)
        self.terminal = bool(config["process"].get("terminal"))
        self.cgroup_join_fds = 0
        self.container_id = ""
        self.bundle = ""
        self.rootfs = ""
        self.stdio_sent = False
        self.given_stdio: list[int] = []
        self.hook_outputs: list[str] = []
        self.make_devices = True
        self.made_nodes: list[int] = []
        self.no_pivot = False
        self.no_new_keyring = False
        self.keyring = ""
        self.joins = False
        self.join_flags = 0
        self.cgroup_namespace = False
        self.root_sent = False
        self.kept_fds: list[int] = []
        self.listen_fds = 0
        self.listen_names = ""
        self.hierarchies: list[Hierarchy] = []
        self.bind_sources: list[int] = []
        self.late_sources: list[int] = []
        self.seccomp: dict[str, Any] | None = None
        self.landlock: dict[str, Any] | None = None
        self.mount_label = _effective_mount_label(config)

    def body(self) -> dict[str, Any]:
        """Everything that cannot be read from config.json again, as JSON."""
        body = {name: getattr(self, name) for name in self.__slots__ if name != "namespaces"}
        body["hierarchies"] = [hierarchy.body() for hierarchy in self.hierarchies]
        return body

    @classmethod
    def from_body(cls, config: Config, body: dict[str, Any]) -> Request:
        """Build it again on init's side."""
        request = cls(config)
        for name, value in body.items():
            setattr(request, name, value)
        request.hierarchies = [Hierarchy(*words) for words in body["hierarchies"]]
        return request


def _effective_mount_label(config: Config) -> str:
    """Return linux.mountLabel, or "" if it is not set or there is no SELinux.

    Order: decided by the parent. Init may be in a mount namespace that does not show selinuxfs.
    """
    label = config.get("linux", {}).get("mountLabel", "")
    if label:
        from ocirun.spec.process_rules import has_selinux

        return label if has_selinux() else ""
    return ""
