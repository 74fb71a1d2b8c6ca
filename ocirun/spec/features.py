"""What `ocirun features` prints: what this build can do, from the tables that do it.

A feature says yes here in the change that brings its code; a test compares with the list of what
is refused.

Source: runtime-spec features.md, features-linux.md.
"""

from __future__ import annotations

from ocirun.kernel.which import find_in_path
from ocirun.spec import LANDLOCK, memory_policy
from ocirun.spec.capabilities import CAPABILITIES
from ocirun.spec.default import OCI_VERSION
from ocirun.spec.mount_options import MOUNT_OPTIONS
from ocirun.spec.rules import HOOK_NAMES
from ocirun.spec.seccomp import ACTIONS, ARCHITECTURES, FLAGS, OPERATORS, library_arch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from ocirun.spec.types import Features, LinuxFeatures, SeccompFeatures

OCI_VERSION_MIN: Final = "1.0.0"

NAMESPACES: Final = ("cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts")

# Words that only ask for an id-mapped mount, which mountExtensions.idmap is about.
IDMAP_OPTIONS: Final = frozenset(("idmap", "ridmap"))

# Callers ask this one, by runc's name, before they offer checkpoints.
CHECKPOINT: Final = "org.opencontainers.runc.checkpoint.enabled"

# What this kernel's Landlock can do: docs/landlock.md has what needs which ABI.
LANDLOCK_ABI: Final = f"{LANDLOCK}abi"

# Kernel: SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV is only taken with NEW_LISTENER.
NEW_LISTENER: Final = 1 << 3
WAIT_KILLABLE_RECV: Final = FLAGS["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]

# Annotations that change what a runtime does; callers keep them away from untrusted users. Those of
# Landlock only take access away from the container, and are not among them.
UNSAFE_ANNOTATIONS: Final = (
    "org.systemd.property.",
    "org.criu.config",
    "org.ocirun.networks",
    "run.oci.hooks.",
    "run.oci.keep_original_groups",
    "run.oci.seccomp.receiver",
)


def features() -> Features:
    """Return the features document, in the order of the specification."""
    return {
        "ociVersionMin": OCI_VERSION_MIN,
        "ociVersionMax": OCI_VERSION,
        "hooks": list(HOOK_NAMES),
        "mountOptions": sorted(MOUNT_OPTIONS.keys() - IDMAP_OPTIONS),
        "linux": _linux(),
        "annotations": {
            CHECKPOINT: "true" if find_in_path("criu") else "false",
            LANDLOCK_ABI: str(_landlock_abi()),
        },
        "potentiallyUnsafeConfigAnnotations": list(UNSAFE_ANNOTATIONS),
    }


def _landlock_abi() -> int:
    """Return the kernel's ABI of Landlock; 0 without it, or where asking is refused."""
    from ocirun.kernel.landlock import abi

    try:
        return abi()
    except OSError:
        return 0


def _linux() -> LinuxFeatures:
    return {
        "namespaces": list(NAMESPACES),
        "capabilities": list(CAPABILITIES),
        "cgroup": {"v1": True, "v2": True, "systemd": True, "systemdUser": True, "rdma": True},
        "seccomp": _seccomp(),
        "apparmor": {"enabled": True},
        "selinux": {"enabled": True},
        "intelRdt": {"enabled": True, "schemata": True, "monitoring": True},
        "memoryPolicy": {
            "modes": list(memory_policy.MODES),
            "flags": list(memory_policy.FLAGS),
        },
        "mountExtensions": {"idmap": {"enabled": True}},
        "netDevices": {"enabled": True},
    }


def _seccomp() -> SeccompFeatures:
    """Return what filters can do with the libseccomp that is installed; without one, nothing."""
    from ocirun.kernel.libseccomp import Library
    from ocirun.kernel.seccomp import knows_flags

    try:
        library = Library()
    except FileNotFoundError:
        return {"enabled": False}
    supported = [
        name
        for name, bit in FLAGS.items()
        if knows_flags(bit | NEW_LISTENER if bit == WAIT_KILLABLE_RECV else bit)
    ]
    return {
        "enabled": True,
        "actions": list(ACTIONS),
        "operators": list(OPERATORS),
        "archs": [word for word in ARCHITECTURES if library.architecture(library_arch(word))],
        "knownFlags": sorted(FLAGS),
        "supportedFlags": sorted(supported),
    }
