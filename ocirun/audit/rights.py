"""Capabilities, no_new_privs, setuid files and file capabilities: the process's privileges.

Source: capabilities(7), user_namespaces(7), no_new_privs in prctl(2); docs/audit.md.
"""

from __future__ import annotations

from ocirun.audit.finding import CRITICAL, GRADES, HIGH, LOW, MEDIUM, NOTE, Rule
from ocirun.audit.world import HOST
from ocirun.spec.capabilities import CAPABILITIES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from ocirun.audit.finding import Found
    from ocirun.audit.world import World

POINTER: Final = "/process/capabilities"
MANY: Final = 4  # how many files a message lists

# Grade of a capability without a user namespace, and what it allows.
ALLOWS: Final = {
    "CAP_AUDIT_CONTROL": (LOW, "changes audit rules only from the host's pid namespace"),
    "CAP_AUDIT_READ": (MEDIUM, "reads the host's audit log"),
    "CAP_AUDIT_WRITE": (LOW, "writes to the host's audit log"),
    "CAP_BLOCK_SUSPEND": (LOW, "keeps the host from suspending"),
    "CAP_BPF": (HIGH, "loads BPF programs into the host's kernel"),
    "CAP_CHECKPOINT_RESTORE": (MEDIUM, "chooses pids, and follows /proc/PID/map_files"),
    "CAP_CHOWN": (LOW, "changes the owner of every file in reach"),
    "CAP_DAC_OVERRIDE": (LOW, "reads and writes every file in reach, whoever owns it"),
    "CAP_DAC_READ_SEARCH": (
        HIGH, "opens files of the host by their handle, past the container's root",
    ),
    "CAP_FOWNER": (LOW, "changes modes and attributes of files of others"),
    "CAP_FSETID": (LOW, "keeps setuid bits on files that it changes"),
    "CAP_IPC_LOCK": (LOW, "locks memory without a limit"),
    "CAP_IPC_OWNER": (LOW, "uses every System V IPC object of its IPC namespace"),
    "CAP_KILL": (LOW, "signals processes of other users in its pid namespace"),
    "CAP_LEASE": (LOW, "takes leases on files of others"),
    "CAP_LINUX_IMMUTABLE": (LOW, "makes files immutable, which the host has to undo"),
    "CAP_MAC_ADMIN": (HIGH, "changes the policy of the host's security module"),
    "CAP_MAC_OVERRIDE": (HIGH, "passes the host's security module"),
    "CAP_MKNOD": (LOW, "makes device nodes; the device rules decide which it can open"),
    "CAP_NET_ADMIN": (MEDIUM, "configures its network namespace, with much of the kernel's code"),
    "CAP_NET_BIND_SERVICE": (NOTE, "binds ports below 1024"),
    "CAP_NET_BROADCAST": (NOTE, "nothing: no kernel uses it"),
    "CAP_NET_RAW": (MEDIUM, "forges packets, such as ARP answers to its neighbours"),
    "CAP_PERFMON": (HIGH, "observes the whole host's processes and kernel"),
    "CAP_SETFCAP": (LOW, "gives file capabilities to programs"),
    "CAP_SETGID": (LOW, "becomes every group"),
    "CAP_SETPCAP": (LOW, "passes its bounding set on to other programs"),
    "CAP_SETUID": (LOW, "becomes every user"),
    "CAP_SYSLOG": (MEDIUM, "reads the kernel's log and addresses"),
    "CAP_SYS_ADMIN": (CRITICAL, "mounts file systems of the host, and much else"),
    "CAP_SYS_BOOT": (HIGH, "loads another kernel for the host's next restart"),
    "CAP_SYS_CHROOT": (LOW, "calls chroot(2), and enters mount namespaces"),
    "CAP_SYS_MODULE": (CRITICAL, "loads modules into the host's kernel"),
    "CAP_SYS_NICE": (LOW, "takes CPU time from the host's processes"),
    "CAP_SYS_PACCT": (LOW, "switches process accounting"),
    "CAP_SYS_PTRACE": (MEDIUM, "traces every process of its pid namespace"),
    "CAP_SYS_RAWIO": (CRITICAL, "uses I/O ports and /dev/mem"),
    "CAP_SYS_RESOURCE": (MEDIUM, "exceeds resource limits and quotas"),
    "CAP_SYS_TIME": (HIGH, "sets the host's clock"),
    "CAP_SYS_TTY_CONFIG": (LOW, "hangs up terminals"),
    "CAP_WAKE_ALARM": (LOW, "wakes the host from suspend"),
}  # fmt: skip
# Capabilities that are worse in a namespace of the host: namespace, grade, what it allows.
ON_THE_HOST: Final = {
    "CAP_AUDIT_CONTROL": ("pid", MEDIUM, "changes the rules of the host's audit log"),
    "CAP_KILL": ("pid", HIGH, "signals every process of the host"),
    "CAP_SYS_PTRACE": ("pid", CRITICAL, "traces every process of the host, and runs as it"),
    "CAP_NET_ADMIN": ("network", HIGH, "changes the host's addresses, routes and firewall"),
    "CAP_NET_RAW": ("network", HIGH, "reads and forges packets of the host"),
    "CAP_NET_BIND_SERVICE": ("network", LOW, "binds the host's ports below 1024"),
    "CAP_IPC_OWNER": ("ipc", HIGH, "uses every System V IPC object of the host"),
}
# Grades in a user namespace, where a capability only adds attack surface of the kernel.
CONFINED: Final = {"CAP_SYS_ADMIN": LOW, "CAP_NET_ADMIN": LOW, "CAP_BPF": LOW}


def name_of(capability: str) -> str:
    """Return the name of the rule about `capability`: cap-sys-admin."""
    return capability.lower().replace("_", "-")


def _grades(capability: str) -> tuple[str, ...]:
    found = {ALLOWS[capability][0], CONFINED.get(capability, NOTE)}
    if capability in ON_THE_HOST:
        found.add(ON_THE_HOST[capability][1])
    return tuple(sorted(found, key=GRADES.index))


NO_NEW_PRIVS: Final = Rule(
    "no-new-privs-off",
    (MEDIUM, LOW),
    "Set process.noNewPrivileges to true.",
    "sudo, su, ping and other setuid programs no longer gain rights.",
)
SETUID: Final = Rule(
    "setuid-files",
    (MEDIUM, LOW),
    "Set process.noNewPrivileges to true, or mount with nosuid.",
    "These programs run with the rights of their caller.",
)
CAPABLE: Final = Rule(
    "file-capabilities",
    (MEDIUM, LOW),
    "Set process.noNewPrivileges to true, or mount with nosuid.",
    "These programs run with the capabilities of their caller.",
)
RULES: Final = (
    NO_NEW_PRIVS,
    SETUID,
    CAPABLE,
    *(
        Rule(
            name_of(capability),
            _grades(capability),
            f"Remove {capability} from all sets of process.capabilities.",
            f"Programs that need it fail: it {ALLOWS[capability][1]}.",
        )
        for capability in CAPABILITIES
    ),
)
BY_NAME: Final = {rule.name: rule for rule in RULES}


def find(world: World) -> Found:
    """Return findings about privileges beyond those of an ordinary process."""
    for capability in sorted(world.held(), key=lambda name: CAPABILITIES.get(name, 0)):
        if capability in ALLOWS:
            grade, words = _allowed(world, capability)
            sentence = f"The process has {capability}: it {words}."
            if capability not in world.capabilities["permitted"]:
                sentence = f"A setuid program, or one of root, gets {capability}: it {words}."
            yield BY_NAME[name_of(capability)].found(grade, sentence, _pointer(world, capability))
    if not world.no_new_privs:
        sentence = "Programs with the setuid bit or file capabilities add to the process's rights."
        grade = LOW if world.is_confined_root else MEDIUM
        yield NO_NEW_PRIVS.found(grade, sentence, "/process/noNewPrivileges")
        if world.setuid_files:
            sentence = f"Setuid programs are in reach: {_some(world.setuid_files)}."
            yield SETUID.found(grade, sentence, "/process/noNewPrivileges")
        if given := world.given():
            programs = [f"{path} ({', '.join(names)})" for path, names in given.items()]
            sentence = f"Programs with file capabilities are in reach: {_some(programs)}."
            yield CAPABLE.found(grade, sentence, "/process/noNewPrivileges")


def _some(names: list[str]) -> str:
    more = len(names) - MANY
    return ", ".join(names[:MANY]) + (f" and {more} more" if more > 0 else "")


def _allowed(world: World, capability: str) -> tuple[str, str]:
    """Return the grade of `capability` in this world, and what it allows."""
    grade, words = ALLOWS[capability]
    if world.is_confined_root:
        inside = "in its user namespace only, not on the host"
        return CONFINED.get(capability, NOTE), f"{words}, {inside}"
    if capability in ON_THE_HOST:
        kind, worse, more = ON_THE_HOST[capability]
        if world.namespaces[kind] == HOST:
            return worse, more
    return grade, words


def _pointer(world: World, capability: str) -> str:
    return POINTER + ("/bounding" if capability in world.capabilities["bounding"] else "/permitted")
