"""Checks of security: the seal, seccomp, AppArmor, SELinux, keyrings, capabilities.

Source: seccomp(2), capabilities(7), keyrings(7), memfd_create(2); CVE-2019-5736.
"""

from __future__ import annotations

import os
from errno import EACCES, EINVAL, ENOSYS

from ocirun.doctor.probe import DEGRADED, FILTERED, Lacks, Probe, in_child, read
from ocirun.errors import kernel_words
from ocirun.kernel import landlock as kernel_landlock
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

# What fails without a capability that the runtime itself uses.
CONSEQUENCES: Final = {
    "CAP_SYS_ADMIN": "without SYS_ADMIN root can create containers only in user namespaces",
    "CAP_SYS_RESOURCE": "without SYS_RESOURCE no hard rlimit can be raised",
    "CAP_MKNOD": "without MKNOD device nodes are bound from the host",
    "CAP_NET_ADMIN": "without NET_ADMIN no network device can be moved",
    "CAP_SYS_TIME": "without SYS_TIME no time offset can be set",
    "CAP_SYS_NICE": "without SYS_NICE no real-time policy can be set",
}


LANDLOCK_ABI: Final = 6  # of the scopes, the newest that an annotation can ask for
SOME_ARE_REFUSED: Final = "Annotations org.ocirun.landlock.* that need a newer ABI are refused."


def seal() -> str:
    """Return how our executable is sealed.

    Raises:
        Lacks: it is not.
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
    """Create an executable memory file, the fallback of the seal.

    Raises:
        Lacks: a sysctl forbids it.
    """
    try:
        fd = os.memfd_create("ocirun-doctor", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING | 0x10)
    except OSError as error:
        if error.errno == EACCES:  # Kernel: vm.memfd_noexec=2
            raise Lacks("vm.memfd_noexec forbids them") from error
        if error.errno != EINVAL:
            raise Lacks(kernel_words(error), remedy=FILTERED) from error
        # Kernel: MFD_EXEC (0x10) is from 6.3 on
        fd = os.memfd_create("ocirun-doctor", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.close(fd)
    return "may be executed"


def seccomp_filters() -> str:
    """Check that the kernel has seccomp filters.

    Raises:
        Lacks: it has none.
    """
    if not knows_flags(0):
        raise Lacks("the kernel has no seccomp filters")
    return "seccomp(SECCOMP_SET_MODE_FILTER)"


def libseccomp() -> str:
    """Load libseccomp, and return its version.

    Raises:
        Lacks: it is not installed.
    """
    try:
        library = Library()
    except FileNotFoundError as error:
        raise Lacks(f"{error} is not installed") from error
    return f"libseccomp {library.version()}, level {library.api_level()}"


def seccomp_agents() -> str:
    """Check that the kernel has SCMP_ACT_NOTIFY.

    Raises:
        Lacks: it has not.
    """
    if not knows_flags(SECCOMP_FILTER_FLAG_NEW_LISTENER):
        raise Lacks("the kernel has no listeners for seccomp")
    return "SECCOMP_FILTER_FLAG_NEW_LISTENER"


def apparmor() -> str:
    """Check that AppArmor is enabled.

    Raises:
        Lacks: it is off, or not in this kernel.
    """
    try:
        word = read(APPARMOR)
    except FileNotFoundError as error:
        remedy = "Use a kernel with CONFIG_SECURITY_APPARMOR."
        raise Lacks("not in this kernel", remedy=remedy) from error
    if word != "Y":
        raise Lacks("switched off")
    return "enabled"


def selinux() -> str:
    """Return the mode of SELinux.

    Raises:
        Lacks: it is off, or not in this kernel.
    """
    try:
        return "enforcing" if read(SELINUX) == "1" else "permissive"
    except FileNotFoundError as error:
        raise Lacks("not in this kernel, or switched off") from error


def landlock() -> str:
    """Return the ABI of Landlock.

    Raises:
        Lacks: the kernel has no Landlock, or one that cannot do all that annotations may ask.
    """
    version = kernel_landlock.abi()
    if version == 0:
        raise Lacks("not in this kernel, or not in its list lsm=")
    if version < LANDLOCK_ABI:
        raise Lacks(f"ABI {version}", SOME_ARE_REFUSED, "Run Linux 6.12 or newer for all of them.")
    return f"ABI {version}"


def keyring() -> str:
    """Join a new session keyring, in a child."""
    try:
        in_child(lambda: join_session_keyring("_ses.ocirun-doctor"))
    except OSError as error:
        if error.errno != ENOSYS:
            raise
        return "this kernel has no keyrings, so there is nothing to isolate"
    return "can be made"


def bounding_set() -> str:
    """Check that the bounding set is complete.

    Raises:
        Lacks: capabilities are missing; with their consequences.
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
    consequence = "; ".join(["Containers cannot have them", *known]) + "."
    raise Lacks(f"without {', '.join(missing)}", consequence)


PROBES: Final = (
    Probe(
        "seal",
        seal,
        "Containers are refused, because they could overwrite this program (CVE-2019-5736).",
        "Start the installed command ocirun, which seals itself, and not python -m ocirun.",
        needed=True,
        did="looked at the file that this program runs from",
    ),
    Probe(
        "executable memory files",
        memory_files,
        "ocirun cannot seal itself where a private overlay is not possible, as for ordinary users.",
        "sysctl vm.memfd_noexec=0 or 1.",
        without=DEGRADED,
        did="made a memory file that can be executed",
    ),
    Probe(
        "seccomp",
        seccomp_filters,
        "A configuration with linux.seccomp is refused; engines usually write one.",
        "Use a kernel with CONFIG_SECCOMP_FILTER.",
        did="asked seccomp(2) for filters",
    ),
    Probe(
        "libseccomp",
        libseccomp,
        "A configuration with linux.seccomp is refused; engines usually write one.",
        "Install libseccomp2 (Debian) or libseccomp.",
        did="loaded libseccomp.so.2",
    ),
    Probe(
        "seccomp agents",
        seccomp_agents,
        "A profile with SCMP_ACT_NOTIFY is refused.",
        "Run Linux 5.0 or newer.",
        without=DEGRADED,
        did="asked seccomp(2) for SECCOMP_FILTER_FLAG_NEW_LISTENER",
    ),
    Probe(
        "AppArmor",
        apparmor,
        "A configuration with process.apparmorProfile is refused.",
        "Boot with security=apparmor to use profiles.",
        did="read /sys/module/apparmor/parameters/enabled",
    ),
    Probe(
        "SELinux",
        selinux,
        "A configuration with process.selinuxLabel is refused; linux.mountLabel is ignored.",
        "Enable SELinux to use labels.",
        did="read /sys/fs/selinux/enforce",
    ),
    Probe(
        "Landlock",
        landlock,
        "Containers with annotations org.ocirun.landlock.* are refused.",
        "Use a kernel with CONFIG_SECURITY_LANDLOCK, and landlock in lsm= on its command line.",
        without=DEGRADED,
        did="asked landlock_create_ruleset for its version",
    ),
    Probe(
        "session keyring",
        keyring,
        "Containers are refused, except with --no-new-keyring.",
        "Run ocirun outside of a sandbox that blocks keyctl; see keyrings(7) for quotas.",
        without=DEGRADED,
        did="joined a new session keyring in a child",
    ),
    Probe(
        "capabilities",
        bounding_set,
        "Containers cannot have them.",
        "Start ocirun from a process that has them; in a container, run that container privileged.",
        without=DEGRADED,
        did="read this process's bounding set",
    ),
)
