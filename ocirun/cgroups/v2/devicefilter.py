"""Device rules as a program: what the kernel runs when a process opens or makes a device node.

The program is the table of `devicerules.table_of` written out: it compares until it has found the
entry of the device, and returns whether that allows the whole requested access. For "c 1:3 may be
read and written, nothing else may":

    load      r2 = type, r3 = requested access, r4 = major, r5 = minor
    b         r2 != 1 → c;  return 0
    c         r4 != 1 → other majors
              r5 != 3 → other minors;  r3 &= ~(read|write);  return r3 == 0
              other minors: return 0
              other majors: return 0

No way through it leads to a comparison that was made already, so that the verifier's work, like
the program, grows with the number of rules and not with its square.

Source: kernel include/uapi/linux/bpf.h, struct bpf_insn and struct bpf_cgroup_dev_ctx;
kernel Documentation/bpf/standardization/instruction-set.rst.
"""

from __future__ import annotations

import sys

from ocirun.cgroups.devicerules import ANY, EVERYTHING, MKNOD, READ, WRITE, table_of
from ocirun.errors import SetupError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Final, TypeVar

    from ocirun.cgroups.devicerules import Table

    Entry = TypeVar("Entry")

    # code, destination register, source register, jump offset, immediate: struct bpf_insn
    Instruction = tuple[int, int, int, int, int]

# How the context names types and access; what is not a block device is a character device.
BLOCK: Final = 1
ACCESS: Final = ((MKNOD, 1), (READ, 2), (WRITE, 4))

# Opcodes: class | source or size | operation. BPF_K is an immediate, BPF_X a register.
LOAD_WORD: Final = 0x61  # BPF_LDX | BPF_MEM | BPF_W
MOVE: Final = 0xB7  # BPF_ALU64 | BPF_MOV | BPF_K
MOVE_REGISTER: Final = 0xBF  # BPF_ALU64 | BPF_MOV | BPF_X
AND: Final = 0x57  # BPF_ALU64 | BPF_AND | BPF_K
SHIFT_RIGHT: Final = 0x77  # BPF_ALU64 | BPF_RSH | BPF_K
JUMP_UNEQUAL: Final = 0x55  # BPF_JMP | BPF_JNE | BPF_K
EXIT: Final = 0x95  # BPF_JMP | BPF_EXIT

RESULT, CONTEXT, TYPE, ASKED, MAJOR, MINOR = range(6)
MAX_IMMEDIATE: Final = 2**31 - 1
MAX_OFFSET: Final = 2**15 - 1


def program_of(rules: Iterable[Mapping[str, object]]) -> bytes | None:
    """Write the program that holds device rules; None when they allow everything.

    `rules` have the form of linux.resources.devices, the implied ones among them.

    Raises:
        SetupError: a rule is about something that is not a device, or there are too many.
    """
    tables = table_of(rules)
    if all(table == {ANY: {ANY: EVERYTHING}} for table in tables.values()):
        return None
    return assemble(instructions_of(tables))


def instructions_of(tables: dict[str, Table]) -> list[Instruction]:
    """Write the program of the two tables.

    Raises:
        SetupError: a jump would be too wide.
    """
    blocks, characters = (_row(tables[kind], MAJOR, _minors) for kind in ("b", "c"))
    # Kernel: the first word of the context has the type in its low half, the access in its high.
    return [
        (LOAD_WORD, TYPE, CONTEXT, 0, 0),
        (MOVE_REGISTER, ASKED, TYPE, 0, 0),
        (SHIFT_RIGHT, ASKED, 0, 0, 16),
        (AND, TYPE, 0, 0, 0xFFFF),
        (LOAD_WORD, MAJOR, CONTEXT, 4, 0),
        (LOAD_WORD, MINOR, CONTEXT, 8, 0),
        _unless(TYPE, BLOCK, blocks),
        *blocks,
        *characters,
    ]


def _minors(entries: dict[int, int]) -> list[Instruction]:
    return _row(entries, MINOR, _answer)


def _row(
    entries: dict[int, Entry], register: int, write: Callable[[Entry], list[Instruction]]
) -> list[Instruction]:
    """Compare a number with each entry's; the entry of ANY, for all others, is the last."""
    code: list[Instruction] = []
    for number, entry in entries.items():
        # Kernel: 12 bits of major and 20 of minor, so nothing has a number that does not fit.
        if ANY < number <= MAX_IMMEDIATE:
            found = write(entry)
            code += [_unless(register, number, found), *found]
    return code + write(entries[ANY])


def _unless(register: int, number: int, code: list[Instruction]) -> Instruction:
    """Skip the instructions that follow unless the register has this number."""
    if len(code) > MAX_OFFSET:
        raise SetupError("device rules: there are too many for an eBPF program")
    return (JUMP_UNEQUAL, register, 0, len(code), number)


def _answer(bits: int) -> list[Instruction]:
    """Return the instructions that allow the access if all of its bits are allowed."""
    if bits in (0, EVERYTHING):
        return [(MOVE, RESULT, 0, 0, int(bits == EVERYTHING)), (EXIT, 0, 0, 0, 0)]
    allowed = sum(theirs for ours, theirs in ACCESS if bits & ours)
    return [
        (AND, ASKED, 0, 0, ~allowed),
        (MOVE, RESULT, 0, 0, 0),
        (JUMP_UNEQUAL, ASKED, 0, 1, 0),
        (MOVE, RESULT, 0, 0, 1),
        (EXIT, 0, 0, 0, 0),
    ]


def assemble(code: list[Instruction], order: str = sys.byteorder) -> bytes:
    """Pack instructions for a machine of that byte order ("little" or "big").

    Kernel: the two registers are bit fields of one byte, which compilers fill from its low end on
    little-endian machines and from its high end on the others.
    """
    little = order == "little"
    return b"".join(
        bytes((opcode, source << 4 | target if little else target << 4 | source))
        + (offset & 0xFFFF).to_bytes(2, "little" if little else "big")
        + (number & 0xFFFFFFFF).to_bytes(4, "little" if little else "big")
        for opcode, target, source, offset, number in code
    )
