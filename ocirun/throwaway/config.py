"""The config.json of a throwaway container: `ocirun spec`'s, with a root of overlays.

Source: docs/try.md#what-is-hardened; runtime-spec config.md.
"""

from __future__ import annotations

import os

from ocirun.errors import UsageError
from ocirun.spec import NETWORKS
from ocirun.spec.default import default_config
from ocirun.spec.jsontext import compact
from ocirun.spec.seccomp_profile import default_profile
from ocirun.throwaway.identity import user_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from ocirun.spec.types import Config, IDMapping, Mount, Resources
    from ocirun.throwaway.layers import Tree
    from ocirun.throwaway.options import TryOptions

CPU_PERIOD_US: Final = 100_000
PIDS: Final = 1024  # stops a fork bomb before it reaches the machine's limit
TTY_GROUP: Final = 5


class Surroundings:
    """Properties of the host and the caller that decide the configuration.

    `userns`: the container is in a user namespace with the mappings `maps` (uids, gids);
    `makes_userns`: the runtime creates that namespace, instead of being started in it. `cgroup_v2`:
    the host has only the unified hierarchy. `limits_pids`: the number of processes can be limited.
    """

    __slots__ = ("cgroup_v2", "limits_pids", "makes_userns", "maps", "userns")

    def __init__(
        self,
        *,
        cgroup_v2: bool,
        limits_pids: bool,
        maps: tuple[list[IDMapping], list[IDMapping]] | None = None,
        makes_userns: bool = False,
    ) -> None:
        self.cgroup_v2 = cgroup_v2
        self.limits_pids = limits_pids
        self.maps = maps
        self.userns = maps is not None
        self.makes_userns = makes_userns


def make_config(
    options: TryOptions, tree: Tree, place: str, masked: list[str], around: Surroundings
) -> Config:
    """Return the config.json for a bundle whose overlays are in `place`, an absolute path.

    Raises:
        UsageError: --user is unknown, or a variable of --env is not set.
    """
    config = default_config(cgroup_v2=around.cgroup_v2)
    config["root"] = {"path": "rootfs", "readonly": False}
    config["hostname"] = "try"
    process = config["process"]
    process["terminal"] = options.terminal
    process["args"] = options.args
    process["cwd"] = options.cwd
    process["user"] = user_of(options.user, may_name=not options.root)
    process["env"] = [*_environment(options), *map(_assignment, options.env)]
    config["mounts"] = [
        *(layer.mount(place, userxattr=around.userns) for layer in tree.layers),
        *_system_mounts(config["mounts"], options, around),
        *(_volume(*volume) for volume in options.volumes),
    ]
    linux = config["linux"]
    linux["maskedPaths"] = [*linux["maskedPaths"], *masked]
    if options.filters_calls:
        linux["seccomp"] = default_profile()
    if options.network == "host":
        linux["namespaces"] = [one for one in linux["namespaces"] if one["type"] != "network"]
    if options.network not in ("none", "host"):
        kind, _, name = options.network.partition(":")
        network = {"type": kind, "name": name} if name else {"type": kind}
        config["annotations"] = {NETWORKS: compact([network])}
    resources: Resources = {} if around.userns else linux["resources"]
    _limit(resources, options, around)
    linux["resources"] = resources
    if not resources:
        del linux["resources"]
    if around.makes_userns and around.maps:
        linux["namespaces"].append({"type": "user"})
        linux["uidMappings"], linux["gidMappings"] = around.maps
    return config


def _environment(options: TryOptions) -> list[str]:
    """Return PATH and TERM. Security: no other variable of the caller."""
    path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    term = os.environ.get("TERM") if options.terminal else None
    return [path, f"TERM={term or 'xterm'}"]


def _assignment(text: str) -> str:
    """Return NAME=VALUE; a bare NAME takes the caller's value."""
    if "=" in text:
        return text
    if text not in os.environ:
        raise UsageError(f"--env {text}: this variable is not set; give {text}=VALUE")
    return f"{text}={os.environ[text]}"


def _system_mounts(mounts: list[Mount], options: TryOptions, around: Surroundings) -> list[Mount]:
    """Return the default mounts that these surroundings allow, and /run and /tmp."""
    result = []
    for mount in mounts:
        words = mount.get("options") or []
        if mount["destination"] == "/dev/pts" and not _maps_gid(around, TTY_GROUP):
            mount["options"] = [word for word in words if word != f"gid={TTY_GROUP}"]
        if mount["destination"] == "/sys" and around.userns and options.network == "host":
            # Kernel: sysfs needs privileges over the network namespace, which is the host's.
            mount = {  # noqa: PLW2901
                "destination": "/sys",
                "type": "none",
                "source": "/sys",
                "options": ["rbind", "rnosuid", "rnoexec", "rnodev", "rro"],
            }
        result.append(mount)
    for destination, mode in (("/run", "755"), ("/tmp", "1777")):  # noqa: S108  # the container's
        words = ["nosuid", "nodev", f"mode={mode}"]
        result.append(
            {"destination": destination, "type": "tmpfs", "source": "tmpfs", "options": words}
        )
    return result


def _maps_gid(around: Surroundings, gid: int) -> bool:
    if around.maps is None:
        return True
    return any(m["containerID"] <= gid < m["containerID"] + m["size"] for m in around.maps[1])


def _volume(source: str, destination: str, is_read_only: bool) -> Mount:
    words = ["rbind", "rnosuid", "rnodev", "rro" if is_read_only else "rw"]
    return {"destination": destination, "type": "none", "source": source, "options": words}


def _limit(resources: Resources, options: TryOptions, around: Surroundings) -> None:
    if options.memory:
        # The same limit for memory and swap together: no swap.
        resources["memory"] = {"limit": options.memory, "swap": options.memory}
    if options.cpus:
        quota = max(round(options.cpus * CPU_PERIOD_US), 1000)  # Kernel: the minimum is 1 ms
        resources["cpu"] = {"quota": quota, "period": CPU_PERIOD_US}
    if around.limits_pids:
        resources["pids"] = {"limit": PIDS}
