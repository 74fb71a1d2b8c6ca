"""The document that `ocirun spec --profile hardened` writes: a container with few privileges.

It is the default one with a user namespace that maps no id of the host's root, no capability, our
seccomp profile, and limits. What of it to loosen for which program, docs/hardened.md says.

Source: docs/hardened.md; user_namespaces(7), capabilities(7).
"""

from __future__ import annotations

from ocirun.spec.default import default_config
from ocirun.spec.seccomp_profile import default_profile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from ocirun.spec.types import Config

# Of root's container: far above the ids of people, and room for all that an image has.
FIRST_ID: Final = 100_000
IDS: Final = 65_536

PIDS: Final = 256
MEMORY: Final = 512 << 20
# Masked besides those of the default: what they show is the whole machine's.
MORE_MASKED: Final = (
    "/proc/interrupts",
    "/proc/kallsyms",
    "/proc/kmsg",
    "/proc/kpagecgroup",
    "/proc/kpagecount",
    "/proc/kpageflags",
    "/proc/sysvipc",
    "/sys/devices/virtual/powercap",
    "/sys/fs/selinux",
    "/sys/kernel/debug",
    "/sys/kernel/security",
    "/sys/kernel/tracing",
    "/sys/module",
)


def hardened_config(cgroup_v2: bool = False, uid: int = 0, gid: int = 0) -> Config:
    """Return the hardened config for a caller who is `uid` and `gid`.

    Root maps 65536 ids from 100000 on; another user only their own, and has no limits, because
    an ordinary user has no cgroup to set them in. Nothing is shared with the next result.
    """
    rootless = uid != 0
    config = default_config(rootless, cgroup_v2, uid, gid)
    process, linux = config["process"], config["linux"]
    process["capabilities"] = {
        "bounding": [],
        "effective": [],
        "inheritable": [],
        "permitted": [],
        "ambient": [],
    }
    process["noNewPrivileges"] = True
    if not cgroup_v2:  # the default has it with cgroup v2 only
        linux["namespaces"].append({"type": "cgroup"})
    if not rootless:
        linux["namespaces"].append({"type": "user"})
        linux["uidMappings"] = [{"containerID": 0, "hostID": FIRST_ID, "size": IDS}]
        linux["gidMappings"] = [{"containerID": 0, "hostID": FIRST_ID, "size": IDS}]
        linux["resources"]["pids"] = {"limit": PIDS}
        linux["resources"]["memory"] = {"limit": MEMORY}
    linux["maskedPaths"] += MORE_MASKED
    linux["seccomp"] = default_profile()
    return config
