"""What holds a container, and what protects the runtime from it.

Source: seccomp(2), capabilities(7), keyrings(7), memfd_create(2); CVE-2019-5736.
"""

from __future__ import annotations

import os
from errno import EINVAL, ENOSYS

from ocirun.doctor.probe import DEGRADED, Lacks, Probe, in_child, read
from ocirun.kernel.keyctl import join_session_keyring
from ocirun.kernel.libseccomp import Library
from ocirun.kernel.mount import fstatfs
from ocirun.kernel.prctl import in_bounding_set
from ocirun.kernel.seccomp import SECCOMP_FILTER_FLAG_NEW_LISTENER, knows_flags
from ocirun.security.capabilities import last_capability
from ocirun.security.executable import OVERLAYFS_SUPER_MAGIC, is_sealed
from ocirun.spec.capabilities import CAPABILITIES
from ocirun.spec.process_rules import APPARMOR, SELINUX

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

# What goes without the capability, for those that a runtime itself uses.
CONSEQUENCES: Final = {
    "CAP_SYS_ADMIN": "without SYS_ADMIN root can make containers only in user namespaces",
    "CAP_SYS_RESOURCE": "without SYS_RESOURCE no hard rlimit can be raised",
    "CAP_MKNOD": "without MKNOD devices are bound from the host",
    "CAP_NET_ADMIN": "without NET_ADMIN no network device can be moved",
    "CAP_SYS_TIME": "without SYS_TIME no time offset can be set",
    "CAP_SYS_NICE": "without SYS_NICE no real-time policy can be set",
}


def seal() -> str:
    """Find what our executable lies on.

    Raises:
        Lacks: on nothing that is sealed, or on the slower of the two.
    """
    if not is_sealed():
        raise Lacks("an ordinary file")
    fd = os.open("/proc/self/exe", os.O_RDONLY | os.O_CLOEXEC)
    try:
        magic, _ = fstatfs(fd)
    finally:
        os.close(fd)
    return "a private overlay" if magic == OVERLAYFS_SUPER_MAGIC else "a sealed memory file"


def memory_files() -> str:
    """Make a memory file that may be executed: what the seal falls back on.

    Raises:
        Lacks: the kernel is set to refuse that.
    """
    try:
        fd = os.memfd_create("ocirun-doctor", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING | 0x10)
    except OSError as error:
        if error.errno != EINVAL:  # Kernel: MFD_EXEC (0x10) is from 6.3 on
            raise Lacks("vm.memfd_noexec forbids them") from error
        fd = os.memfd_create("ocirun-doctor", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.close(fd)
    return "may be executed"


def seccomp_filters() -> str:
    """Ask the kernel whether it filters system calls.

    Raises:
        Lacks: it does not.
    """
    if not knows_flags(0):
        raise Lacks("the kernel has no seccomp filters")
    return "seccomp(SECCOMP_SET_MODE_FILTER)"


def libseccomp() -> str:
    """Load libseccomp; give its version.

    Raises:
        Lacks: it is not installed.
    """
    try:
        library = Library()
    except FileNotFoundError as error:
        raise Lacks(f"{error} is not installed") from error
    return f"libseccomp {library.version()}, level {library.api_level()}"


def seccomp_agents() -> str:
    """Ask the kernel for SCMP_ACT_NOTIFY.

    Raises:
        Lacks: it does not know it.
    """
    if not knows_flags(SECCOMP_FILTER_FLAG_NEW_LISTENER):
        raise Lacks("the kernel has no listeners for seccomp")
    return "SECCOMP_FILTER_FLAG_NEW_LISTENER"


def apparmor() -> str:
    """Look whether AppArmor is on.

    Raises:
        Lacks: it is off, or not in this kernel.
    """
    try:
        word = read(APPARMOR)
    except FileNotFoundError as error:
        raise Lacks("not in this kernel") from error
    if word != "Y":
        raise Lacks("switched off")
    return "enabled"


def selinux() -> str:
    """Look whether SELinux is on.

    Raises:
        Lacks: it is off, or not in this kernel.
    """
    try:
        return "enforcing" if read(SELINUX) == "1" else "permissive"
    except FileNotFoundError as error:
        raise Lacks("not in this kernel, or switched off") from error


def keyring() -> str:
    """Join a new session keyring, in a child."""
    try:
        in_child(lambda: join_session_keyring("_ses.ocirun-doctor"))
    except OSError as error:
        if error.errno != ENOSYS:
            raise
        return "this kernel has none, so there is nothing to hide"
    return "can be made"


def bounding_set() -> str:
    """Look what the bounding set lacks.

    Raises:
        Lacks: something; with what that means.
    """
    last = last_capability()
    missing = [
        name
        for name, number in CAPABILITIES.items()
        if number <= last and not in_bounding_set(number)
    ]
    if not missing:
        return f"all {last + 1} capabilities"
    known = [CONSEQUENCES[name] for name in missing if name in CONSEQUENCES]
    consequence = "; ".join(["No container can be given them", *known]) + "."
    raise Lacks(f"without {', '.join(missing)}", consequence)


PROBES: Final = (
    Probe(
        "seal",
        seal,
        "Containers are refused: they could overwrite this program (CVE-2019-5736).",
        "Start the installed command ocirun, which seals itself, and not python -m ocirun.",
        needed=True,
    ),
    Probe(
        "executable memory files",
        memory_files,
        "Where no private overlay can be made, as for ordinary users, ocirun cannot seal itself.",
        "sysctl vm.memfd_noexec=0 or 1.",
        without=DEGRADED,
    ),
    Probe(
        "seccomp",
        seccomp_filters,
        "A configuration with linux.seccomp is refused, as engines usually write one.",
        "Use a kernel with CONFIG_SECCOMP_FILTER.",
    ),
    Probe(
        "libseccomp",
        libseccomp,
        "A configuration with linux.seccomp is refused, as engines usually write one.",
        "Install libseccomp2 (Debian) or libseccomp.",
    ),
    Probe(
        "seccomp agents",
        seccomp_agents,
        "A profile with SCMP_ACT_NOTIFY is refused.",
        "Run Linux 5.0 or newer.",
        without=DEGRADED,
    ),
    Probe(
        "AppArmor",
        apparmor,
        "A configuration with process.apparmorProfile is refused.",
        "Boot with security=apparmor, if profiles are wanted.",
    ),
    Probe(
        "SELinux",
        selinux,
        "A configuration with process.selinuxLabel is refused; linux.mountLabel is ignored.",
        "Enable SELinux, if labels are wanted.",
    ),
    Probe(
        "session keyring",
        keyring,
        "Containers are refused, unless with --no-new-keyring.",
        "Run ocirun outside of a sandbox that keeps keyctl back, and see keyrings(7) for quotas.",
        without=DEGRADED,
    ),
    Probe(
        "capabilities",
        bounding_set,
        "No container can be given them.",
        "Start ocirun from a process that has them; in a container, run that one privileged.",
        without=DEGRADED,
    ),
)
