"""An interpreter of classic BPF for seccomp(2): the verdict of a filter on a system call.

It implements everything that seccomp(2) accepts: the kernel's checker (seccomp_check_filter) allows
32-bit loads from struct seccomp_data, the scratch memory, arithmetic, jumps and returns.

Source: kernel networking/filter.rst; linux/bpf_common.h; seccomp(2), struct seccomp_data.
"""

from __future__ import annotations

import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Final

WORD: Final = 0xFFFFFFFF
DATA_BYTES: Final = 64  # struct seccomp_data
SCRATCH_WORDS: Final = 16
# The low three bits of a code are its class.
LD, LDX, ST, STX, ALU, JMP, RET, MISC = range(8)
FROM_X: Final = 0x08  # the operand is X, and not K
MODES: Final = 0xE0  # mode of a load
SMALLER: Final = 0x18  # a load of fewer than 32 bits, which seccomp lacks
IMMEDIATE, ABSOLUTE, MEMORY, LENGTH = 0x00, 0x20, 0x60, 0x80
RETURN_A: Final = 0x10
TXA: Final = 0x80

ACTION: Final = 0xFFFF0000
ALLOW: Final = 0x7FFF0000
LOG: Final = 0x7FFC0000
KILL_PROCESS: Final = 0x80000000

Instruction = tuple[int, int, int, int]  # code, jump when true, jump when false, operand


class Filter:
    """A compiled filter: struct sock_filter after struct sock_filter, in this machine's order."""

    __slots__ = ("_code",)

    def __init__(self, program: bytes) -> None:
        self._code: list[Instruction] = list(struct.iter_unpack("=HBBI", program))

    def verdict(self, architecture: int, number: int, arguments: Sequence[int] = ()) -> int:
        """Return the filter's value for a system call: an action, with its data in the low 16 bits.

        `architecture` is AUDIT_ARCH_*, `arguments` are up to six of 64 bits; others are 0.

        Raises:
            ValueError: the kernel would not have loaded this program.
        """
        padded = [*arguments, *[0] * (6 - len(arguments))]
        data = struct.pack("=IIQ6Q", number & WORD, architecture & WORD, 0, *padded)
        a = x = at = 0
        scratch = [0] * SCRATCH_WORDS
        while at < len(self._code):
            code, when_true, when_false, k = self._code[at]
            at += 1
            kind = code & 7
            if kind == RET:
                return a if code & 0x18 == RETURN_A else k
            if kind in (LD, LDX):
                value = _load(code, k, data, scratch)
                a, x = (value, x) if kind == LD else (a, value)
            elif kind in (ST, STX):
                scratch[k] = a if kind == ST else x
            elif kind == ALU:
                a = _calculate(code, a, x if code & FROM_X else k)
                if a < 0:  # Kernel: a division by zero ends the program with 0, a kill
                    return 0
            elif kind == JMP:
                if code & 0xF0 == 0:
                    at += k
                else:
                    at += when_true if _holds(code, a, x if code & FROM_X else k) else when_false
            elif code & TXA:
                a = x
            else:
                x = a
        raise ValueError("the filter ends without a verdict")


def _load(code: int, k: int, data: bytes, scratch: list[int]) -> int:
    mode = code & MODES
    if mode == ABSOLUTE and not code & SMALLER:
        return int(struct.unpack_from("=I", data, k)[0])
    if mode == IMMEDIATE:
        return k
    if mode == MEMORY:
        return scratch[k]
    if mode == LENGTH:
        return DATA_BYTES
    raise ValueError(f"seccomp knows no load {code:#x}")


def _calculate(code: int, a: int, operand: int) -> int:
    """Return the new A; -1 if the program ends."""
    operation = code & 0xF0
    if operation in (0x30, 0x90) and operand == 0:
        return -1
    shift = operand & 31  # Kernel: masks X; K is checked to be below 32 when the filter is loaded
    results = {
        0x00: a + operand,
        0x10: a - operand,
        0x20: a * operand,
        0x30: a // (operand or 1),
        0x40: a | operand,
        0x50: a & operand,
        0x60: a << shift,
        0x70: a >> shift,
        0x80: -a,
        0x90: a % (operand or 1),
        0xA0: a ^ operand,
    }
    return results[operation] & WORD


def _holds(code: int, a: int, operand: int) -> bool:
    operation = code & 0xF0
    if operation == 0x10:
        return a == operand
    if operation == 0x20:
        return a > operand
    if operation == 0x30:
        return a >= operand
    return bool(a & operand)


def action_of(
    filters: Sequence[Filter], architecture: int, number: int, arguments: Sequence[int] = ()
) -> int:
    """Return the action that the kernel takes: the one of highest precedence of all filters.

    The kernel compares actions as signed numbers. Source: seccomp(2), "precedence".
    """
    actions = [one.verdict(architecture, number, arguments) & ACTION for one in filters]
    return min(
        actions,
        key=lambda action: action - (1 << 32) if action & KILL_PROCESS else action,
        default=ALLOW,
    )


def passes(action: int) -> bool:
    """Return whether the kernel executes a call with this action."""
    return action in (ALLOW, LOG)
