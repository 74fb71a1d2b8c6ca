"""The words of `linux.seccomp` and the kernel's numbers for them.

Used by security/seccomp/, which acts on them, and by `features`, which lists them.

Source: runtime-spec config-linux.md#seccomp; seccomp(2), linux/seccomp.h; seccomp_rule_add(3).
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

# What a filter returns (linux/seccomp.h). The low 16 bits are data: the errno of the two below.
ACTIONS: Final = {
    "SCMP_ACT_ALLOW": 0x7FFF0000,
    "SCMP_ACT_ERRNO": 0x00050000,
    "SCMP_ACT_KILL": 0x00000000,  # the old name of KILL_THREAD
    "SCMP_ACT_KILL_PROCESS": 0x80000000,
    "SCMP_ACT_KILL_THREAD": 0x00000000,
    "SCMP_ACT_LOG": 0x7FFC0000,
    "SCMP_ACT_NOTIFY": 0x7FC00000,
    "SCMP_ACT_TRACE": 0x7FF00000,
    "SCMP_ACT_TRAP": 0x00030000,
}
NOTIFY: Final = "SCMP_ACT_NOTIFY"

# Actions that hand errnoRet on: to the caller of the system call, to its tracer.
WITH_ERRNO: Final = frozenset(("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE"))

MAX_ERRNO: Final = 4094  # the highest libseccomp takes

# A call that is new to the profile gets through these anyhow (a tracer decides by itself).
PERMISSIVE: Final = frozenset(("SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_TRACE"))

# enum scmp_compare.
OPERATORS: Final = {
    "SCMP_CMP_EQ": 4,
    "SCMP_CMP_GE": 5,
    "SCMP_CMP_GT": 6,
    "SCMP_CMP_LE": 3,
    "SCMP_CMP_LT": 2,
    "SCMP_CMP_MASKED_EQ": 7,
    "SCMP_CMP_NE": 1,
}

# libseccomp knows each by the end of the word in lower case; which ones, depends on its version.
ARCH_PREFIX: Final = "SCMP_ARCH_"
ARCHITECTURES: Final = tuple(
    ARCH_PREFIX + name
    for name in (
        "AARCH64", "ARM", "LOONGARCH64", "M68K", "MIPS", "MIPS64", "MIPS64N32", "MIPSEL",
        "MIPSEL64", "MIPSEL64N32", "PARISC", "PARISC64", "PPC", "PPC64", "PPC64LE", "RISCV64",
        "S390", "S390X", "SH", "SHEB", "X32", "X86", "X86_64",
    )
)  # fmt: skip

# Bits for seccomp(2). TSYNC is accepted and means nothing: init has one thread.
FLAGS: Final = {
    "SECCOMP_FILTER_FLAG_TSYNC": 0,
    "SECCOMP_FILTER_FLAG_LOG": 1 << 1,
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW": 1 << 2,
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV": 1 << 5,
}
# What a profile without `flags` gets; an empty list means none.
DEFAULT_FLAGS: Final = ("SECCOMP_FILTER_FLAG_SPEC_ALLOW",)


def library_arch(word: str) -> str:
    """Return libseccomp's name of the architecture `word`: x86_64 for SCMP_ARCH_X86_64."""
    return word.removeprefix(ARCH_PREFIX).lower()
