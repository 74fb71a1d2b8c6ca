"""The document that `ocirun spec` writes: a shell in new namespaces, as runc's.

Members stand in runc's order, so that the two files can be compared line by line.

Source: docs/runc-compat/cli.md#spec.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from ocirun.spec.types import Config, Linux, Mount, Namespace, Process

OCI_VERSION: Final = "1.3.0"

MASKED_PATHS: Final = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/sys/firmware",
    "/proc/scsi",
)
READONLY_PATHS: Final = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")


def default_config(
    rootless: bool = False, cgroup_v2: bool = False, uid: int = 0, gid: int = 0
) -> Config:
    """Return the default config; with `rootless` for a caller who is `uid` and `gid`.

    `cgroup_v2` is whether the host has the unified hierarchy alone. Nothing of the result is
    shared with the next one.
    """
    return {
        "ociVersion": OCI_VERSION,
        "process": _process(),
        "root": {"path": "rootfs", "readonly": True},
        "hostname": "runc",
        "mounts": _mounts(rootless),
        "linux": _linux(rootless, cgroup_v2, uid, gid),
    }


def _process() -> Process:
    def capabilities() -> list[str]:
        return ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]

    return {
        "terminal": True,
        "user": {"uid": 0, "gid": 0},
        "args": ["sh"],
        "env": [
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "TERM=xterm",
        ],
        "cwd": "/",
        "capabilities": {
            "bounding": capabilities(),
            "effective": capabilities(),
            "permitted": capabilities(),
        },
        "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
        "noNewPrivileges": True,
    }


def _mounts(rootless: bool) -> list[Mount]:
    # A user who may map only themselves has no group 5 for the terminals.
    tty_group = [] if rootless else ["gid=5"]
    return [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {
            "destination": "/dev",
            "type": "tmpfs",
            "source": "tmpfs",
            "options": ["nosuid", "strictatime", "mode=755", "size=65536k"],
        },
        {
            "destination": "/dev/pts",
            "type": "devpts",
            "source": "devpts",
            "options": [
                "nosuid",
                "noexec",
                "newinstance",
                "ptmxmode=0666",
                "mode=0620",
                *tty_group,
            ],
        },
        {
            "destination": "/dev/shm",  # noqa: S108  # the container's
            "type": "tmpfs",
            "source": "shm",
            "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"],
        },
        {
            "destination": "/dev/mqueue",
            "type": "mqueue",
            "source": "mqueue",
            "options": ["nosuid", "noexec", "nodev"],
        },
        _sys(rootless),
        {
            "destination": "/sys/fs/cgroup",
            "type": "cgroup",
            "source": "cgroup",
            "options": ["nosuid", "noexec", "nodev", "relatime", "ro"],
        },
    ]


def _sys(rootless: bool) -> Mount:
    # Kernel: sysfs belongs to the network namespace, and --rootless keeps the host's.
    if rootless:
        options = ["rbind", "nosuid", "noexec", "nodev", "ro"]
        return {"destination": "/sys", "type": "none", "source": "/sys", "options": options}
    options = ["nosuid", "noexec", "nodev", "ro"]
    return {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": options}


def _linux(rootless: bool, cgroup_v2: bool, uid: int, gid: int) -> Linux:
    linux: Linux = {}
    namespaces: list[Namespace] = [{"type": "pid"}]
    if rootless:
        linux["uidMappings"] = [{"containerID": 0, "hostID": uid, "size": 1}]
        linux["gidMappings"] = [{"containerID": 0, "hostID": gid, "size": 1}]
    else:
        linux["resources"] = {"devices": [{"allow": False, "access": "rwm"}]}
        namespaces.append({"type": "network"})
    namespaces += [{"type": "ipc"}, {"type": "uts"}, {"type": "mount"}]
    if cgroup_v2:
        namespaces.append({"type": "cgroup"})
    if rootless:
        namespaces.append({"type": "user"})
    linux["namespaces"] = namespaces
    linux["maskedPaths"] = list(MASKED_PATHS)
    linux["readonlyPaths"] = list(READONLY_PATHS)
    return linux
