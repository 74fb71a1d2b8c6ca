"""Delegate its cgroup to a container, so that a service manager inside can make cgroups.

This is for a container whose root has no rights outside: with a user namespace of its own, a cgroup
namespace that shows it nothing else, and a cgroup file system it may write to.

Source: kernel admin-guide/cgroup-v2.rst, delegation; docs/runc-compat/cgroups.md#systemd.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirun.cgroups.cgroup import Cgroup
    from ocirun.spec.types import Config


def delegate(cgroup: Cgroup, config: Config) -> None:
    """Change the owner of the cgroup to the container's root, if that is safe and useful.

    Raises:
        SetupError: the kernel refused.
    """
    host_uid = delegated_uid(config)
    if host_uid is not None:
        cgroup.delegate(host_uid)


def delegated_uid(config: Config) -> int | None:
    """Return the host's uid of the container's root if it is to own the cgroup.

    Security: without a cgroup namespace the container would see, and with a shared user namespace
    own, what belongs to others.
    """
    linux = config.get("linux", {})
    own = {entry["type"] for entry in linux.get("namespaces", ()) if not entry.get("path")}
    if not {"user", "cgroup"} <= own:
        return None
    if not any(
        mount.get("type") == "cgroup" and "ro" not in mount.get("options", ())
        for mount in config.get("mounts", ())
    ):
        return None
    for mapping in linux.get("uidMappings", ()):
        if mapping["containerID"] == 0:
            return mapping["hostID"]
    return None
