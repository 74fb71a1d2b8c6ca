"""Which dangerous system calls the container's filters let through, found by running the filters.

The profile itself is not analysed: the compiled program, with the additions of ocirun and
libseccomp, is run for each call on each architecture of the machine.

Source: seccomp(2), syscalls(2); docs/audit.md.
"""

from __future__ import annotations

from ocirun.audit.cbpf import Filter, action_of, passes
from ocirun.audit.finding import HIGH, LOW, MEDIUM, NOTE, Rule

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Final

    from ocirun.audit.finding import Found
    from ocirun.audit.world import World
    from ocirun.kernel.libseccomp import Library

    Call = tuple[str, tuple[int, ...], str]

POINTER: Final = "/linux/seccomp"
CLONE_NEWUSER: Final = 0x10000000
SIGCHLD: Final = 17
AF_ALG, AF_VSOCK = 38, 40
X32_BIT: Final = 0x40000000
X86_64: Final = 0xC000003E
UNUSED_CALL: Final = 4000  # above every system call number, and below those of x32

# (name, arguments, capability that the kernel requires: "" for none, "|" between alternatives)
_NEWUSER: Final = (CLONE_NEWUSER | SIGCHLD, CLONE_NEWUSER | SIGCHLD)
GROUPS: Final[dict[str, tuple[str, str, tuple[Call, ...]]]] = {
    "kernel-code": (HIGH, "load code into the kernel", (
        ("init_module", (), "CAP_SYS_MODULE"), ("finit_module", (), "CAP_SYS_MODULE"),
        ("delete_module", (), "CAP_SYS_MODULE"), ("kexec_load", (), "CAP_SYS_BOOT"),
        ("kexec_file_load", (), "CAP_SYS_BOOT"), ("bpf", (), "CAP_BPF|CAP_SYS_ADMIN"),
    )),
    "machine": (HIGH, "change the machine", (
        ("reboot", (), "CAP_SYS_BOOT"), ("swapon", (), "CAP_SYS_ADMIN"),
        ("swapoff", (), "CAP_SYS_ADMIN"), ("acct", (), "CAP_SYS_PACCT"),
        ("iopl", (3,), "CAP_SYS_RAWIO"), ("ioperm", (0, 1, 1), "CAP_SYS_RAWIO"),
        ("settimeofday", (), "CAP_SYS_TIME"), ("clock_settime", (), "CAP_SYS_TIME"),
        ("quotactl", (), "CAP_SYS_ADMIN"), ("vhangup", (), "CAP_SYS_TTY_CONFIG"),
        ("syslog", (3,), "CAP_SYSLOG"),
    )),
    "mounts": (HIGH, "change mounts", (
        ("mount", (), "CAP_SYS_ADMIN"), ("umount2", (), "CAP_SYS_ADMIN"),
        ("pivot_root", (), "CAP_SYS_ADMIN"), ("fsopen", (), "CAP_SYS_ADMIN"),
        ("fsmount", (), "CAP_SYS_ADMIN"), ("open_tree", (0, 0, 1), "CAP_SYS_ADMIN"),
        ("move_mount", (), "CAP_SYS_ADMIN"), ("mount_setattr", (), "CAP_SYS_ADMIN"),
    )),
    "namespaces": (MEDIUM, "make a user namespace, in which every capability is held", (
        ("unshare", (CLONE_NEWUSER,), ""), ("clone", _NEWUSER, ""), ("clone3", (), ""),
    )),
    "handles": (HIGH, "open files past their paths", (
        ("open_by_handle_at", (), "CAP_DAC_READ_SEARCH"),
    )),
    "processes": (LOW, "reach into other processes of the same user", (
        ("ptrace", (16,), ""), ("process_vm_readv", (), ""), ("process_vm_writev", (), ""),
        ("pidfd_getfd", (), ""), ("kcmp", (), ""),
    )),
    "keyrings": (MEDIUM, "use keyrings, which no namespace divides", (
        ("add_key", (), ""), ("keyctl", (0,), ""), ("request_key", (), ""),
    )),
    "attack-surface": (MEDIUM, "use parts of the kernel with many past exploits", (
        ("io_uring_setup", (), ""), ("userfaultfd", (), ""), ("perf_event_open", (), ""),
    )),
    "sockets": (LOW, "open sockets of families that few programs use", (
        ("socket", (AF_ALG, 5), ""), ("socket", (AF_VSOCK, 1), ""),
    )),
}  # fmt: skip
BITS32: Final = {"x86_64": ("x86", "x32"), "aarch64": ("arm",)}

ABSENT: Final = Rule(
    "seccomp-absent",
    (HIGH, MEDIUM),
    "Set linux.seccomp; `ocirun spec --profile hardened` writes a profile to start from.",
    "System calls outside of the profile fail; docs/seccomp-profile.md lists them.",
)
DEFAULT: Final = Rule(
    "seccomp-default-allow",
    (MEDIUM, LOW),
    "Set linux.seccomp.defaultAction to SCMP_ACT_ERRNO, and list what is allowed.",
    "Calls that the profile does not name fail.",
)
OTHER: Final = Rule(
    "seccomp-other-architecture",
    (HIGH, MEDIUM),
    "List the architecture in linux.seccomp.architectures with the same rules, or leave it out.",
    "Programs of that architecture lose these calls, or are killed.",
)
AGENT: Final = Rule(
    "seccomp-agent",
    (NOTE,),
    "Replace SCMP_ACT_NOTIFY where no agent is wanted.",
    "Calls that the agent decides have a fixed answer.",
)
OPEN: Final = {
    name: Rule(
        f"seccomp-{name}",
        # Calls that need a capability get NOTE if it is missing.
        (grade, NOTE) if grade == HIGH else (grade,),
        "Remove these calls from what linux.seccomp allows.",
        f"Programs that {words} fail.",
    )
    for name, (grade, words, _) in GROUPS.items()
}  # fmt: skip
RULES: Final = (ABSENT, DEFAULT, OTHER, AGENT, *OPEN.values())


def find(world: World) -> Found:
    """Return findings about calls that pass; none if the filters are unknown (World.unknown)."""
    if world.filters is None:
        return
    if not world.filters:
        grade = MEDIUM if world.is_confined_root else HIGH
        sentence = "There is no seccomp filter: every system call reaches the kernel."
        yield ABSENT.found(grade, sentence, POINTER)
        return
    from ocirun.kernel.libseccomp import Library

    try:
        library = Library()
    except FileNotFoundError as error:
        world.unknown.append(f"which calls the filter lets through: {error} is not installed")
        return
    yield from _judge(world, [Filter(program) for program in world.filters], library)


def _judge(world: World, filters: list[Filter], library: Library) -> Found:
    native = library.native_architecture()
    if world.has_agent:
        yield AGENT.found(NOTE, "An agent decides some calls (SCMP_ACT_NOTIFY).", POINTER)
    if passes(action_of(filters, native, UNUSED_CALL)):
        grade = LOW if world.is_confined_root else MEDIUM
        sentence = "Calls that the filter does not name are allowed, and those of newer kernels."
        yield DEFAULT.found(grade, sentence, f"{POINTER}/defaultAction")
    for name, (_, words, calls) in GROUPS.items():
        passing = [call for call in calls if _passes(filters, library, native, call)]
        yield from _open(world, name, words, passing)
    for architecture in _others(library, native):
        more = [
            call[0]
            for _, _, calls in GROUPS.values()
            for call in calls
            if _passes(filters, library, architecture, call)
            and not _passes(filters, library, native, call)
            # A call that only the other architecture has does not bypass a refusal.
            and library.system_call_of(native, call[0]) >= 0
        ]
        if more:
            grade = MEDIUM if world.is_confined_root else HIGH
            sentence = (
                f"By the calls of {architecture_name(library, architecture)} a program passes "
                f"the filter: {_list(more)}."
            )
            yield OTHER.found(grade, sentence, f"{POINTER}/architectures")


def _open(world: World, name: str, words: str, passing: list[Call]) -> Found:
    """Return one finding about the passing calls of a group."""
    useful = [call for call in passing if not call[2] or any(map(world.has, call[2].split("|")))]
    rule = OPEN[name]
    if useful:
        sentence = f"The filter lets the process {words}: {_list([call[0] for call in useful])}."
        yield rule.found(GROUPS[name][0], sentence, f"{POINTER}/syscalls")
    elif passing:
        sentence = (
            f"The filter allows calls that {words}: {_list([call[0] for call in passing])}; only "
            "missing capabilities keep the process from them."
        )
        yield rule.found(NOTE, sentence, f"{POINTER}/syscalls")


def _list(names: list[str]) -> str:
    return ", ".join(dict.fromkeys(names))


def _passes(filters: list[Filter], library: Library, architecture: int, call: Call) -> bool:
    """Return whether the filters let a program of `architecture` make `call`."""
    name, arguments, _ = call
    number = library.system_call_of(architecture, name)
    if number < 0:
        return False
    if architecture == library.architecture("x32"):
        architecture, number = X86_64, number | X32_BIT
    return passes(action_of(filters, architecture, number, arguments))


def _others(library: Library, native: int) -> Iterator[int]:
    """Yield the other architectures whose programs this machine's kernel runs."""
    for name, more in BITS32.items():
        if native == library.architecture(name):
            yield from map(library.architecture, more)


def architecture_name(library: Library, number: int) -> str:
    """Return libseccomp's name of the architecture `number`."""
    names = [name for more in BITS32.values() for name in more]
    return next((name for name in names if library.architecture(name) == number), hex(number))
