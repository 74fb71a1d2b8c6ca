"""System calls newer than the profile do not exist: ENOSYS, and not what the profile's default is.

A C library tries a new call and falls back to an old one when it hears ENOSYS; EPERM it believes.
So a profile that is older than the C library of the image would break programs (clone3,
faccessat2 did). What has a number above every call that the profile names, its author could not
know: it is answered here, before the filter proper.

Source: docs/runc-compat/seccomp.md#filters; seccomp(2), struct seccomp_data; linux/bpf_common.h.
"""

from __future__ import annotations

import sys
from errno import ENOSYS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

# Codes of classic BPF, and where struct seccomp_data has what they look at.
LOAD_WORD: Final = 0x20  # BPF_LD | BPF_W | BPF_ABS
JUMP: Final = 0x05  # BPF_JMP | BPF_JA
JUMP_EQUAL: Final = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
JUMP_GREATER: Final = 0x25  # BPF_JMP | BPF_JGT | BPF_K
JUMP_GREATER_EQUAL: Final = 0x35  # BPF_JMP | BPF_JGE | BPF_K
RETURN: Final = 0x06  # BPF_RET | BPF_K
SYSTEM_CALL: Final = 0
ARCHITECTURE: Final = 4
RETURN_ENOSYS: Final = 0x00050000 | ENOSYS

# x32 shares the kernel's number of x86_64 and marks its calls with a bit.
X86_64: Final = 0xC000003E
X32: Final = 0x4000003E
X32_BIT: Final = 0x40000000

Instruction = tuple[int, int, int, int]  # code, jump when true, jump when false, operand


def refuse_newer(newest: dict[int, int]) -> bytes:
    """Write the program that answers ENOSYS above `newest[architecture]`, else runs on.

    What it leaves alone (another architecture, a lower number) goes on behind its last
    instruction, where the filter proper is to stand.
    """
    parts = [_part(number, newest) for number in newest if number != X32]
    if X32 in newest and X86_64 not in newest:
        parts.append(_part(X86_64, newest))
    program: list[Instruction] = []
    for part in reversed(parts):
        # The part's last word is a jump over all that follows; only it may be a long one.
        program = [*part, (JUMP, 0, 0, len(program)), *program]
    if program:
        program.insert(0, (LOAD_WORD, 0, 0, ARCHITECTURE))
    return b"".join(_packed(instruction) for instruction in program)


def _part(architecture: int, newest: dict[int, int]) -> list[Instruction]:
    """Answer for one architecture; others, and what is not newer, leave at the end or one past."""
    checks: list[Instruction]
    if architecture == X86_64:
        # A limit that is not there is one that no number exceeds.
        checks = [
            (JUMP_GREATER_EQUAL, 2, 0, X32_BIT),
            (JUMP_GREATER, 2, 0, newest.get(X86_64, 0xFFFFFFFF)),
            (JUMP, 0, 0, 2),
            (JUMP_GREATER, 0, 1, newest.get(X32, 0xFFFFFFFF)),
        ]
    else:
        checks = [(JUMP_GREATER, 0, 1, newest[architecture])]
    body = [(LOAD_WORD, 0, 0, SYSTEM_CALL), *checks, (RETURN, 0, 0, RETURN_ENOSYS)]
    # Another architecture skips the body and the jump that refuse_newer puts behind it.
    return [(JUMP_EQUAL, 0, len(body) + 1, architecture), *body]


def _packed(instruction: Instruction) -> bytes:
    code, jump_true, jump_false, operand = instruction
    order = sys.byteorder
    return code.to_bytes(2, order) + bytes((jump_true, jump_false)) + operand.to_bytes(4, order)
