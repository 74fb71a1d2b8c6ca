"""An interpreter of eBPF for the device programs of cgroup v2, whoever has written them.

Besides the answer it records the numbers that the program compares the device's major and minor
with: about any other number the program says the same, so these are enough to list what it allows.

A program that calls the kernel, reads maps, or calculates with the numbers of the device instead of
comparing them is not evaluated.

Source: kernel Documentation/bpf/standardization/instruction-set.rst; kernel
include/uapi/linux/bpf.h, struct bpf_cgroup_dev_ctx.
"""

from __future__ import annotations

import struct
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    # A number of 64 bits, and where it comes from.
    Value = tuple[int, str]
    # code, target, source, offset, immediate
    Instruction = tuple[int, int, int, int, int]

# Where a value comes from; "" is a number that does not depend on the device's.
MAJOR, MINOR, CONTEXT, STACK = "major", "minor", "context", "stack"
CALCULATED: Final = "calculated"  # from MAJOR or MINOR
NUMBERS: Final = (MAJOR, MINOR)

WIDE: Final = 2**64 - 1
NARROW: Final = 2**32 - 1
REGISTERS: Final = 12  # r0 to r10, and the one that the kernel adds to blind constants
STEPS: Final = 500_000  # of one program in all; takes about a second
BLOCK, CHARACTER = 1, 2

# The low three bits of a code are its class.
LD, LDX, ST, STX, ALU, JMP, JMP32, ALU64 = range(8)
FROM_REGISTER: Final = 0x08
OPERATION: Final = 0xF0
SIZES: Final = {0x00: 4, 0x08: 2, 0x10: 1, 0x18: 8}
MODE, MEMORY = 0xE0, 0x60
LOAD_IMMEDIATE: Final = 0x18  # of 64 bits, in two instructions
MOVE, ADD, SUBTRACT, NEGATE = 0xB0, 0x00, 0x10, 0x80
JUMP, CALL, EXIT = 0x00, 0x80, 0x90
EQUAL, NOT_EQUAL = 0x10, 0x50


class NotEvaluated(Exception):
    """A program does what the interpreter cannot follow; the text says what."""


class Program:
    """A device program, from its instructions in this machine's byte order.

    `compared` collects, for MAJOR and MINOR, the numbers that were compared with since it was
    emptied. `constants` are all that the program has.
    """

    __slots__ = ("_code", "_left", "compared", "constants")

    def __init__(self, instructions: bytes) -> None:
        self._code = [
            (code, *_registers(pair), offset, number)
            for code, pair, offset, number in struct.iter_unpack("=BBhi", instructions)
        ]
        self._left = STEPS
        self.constants = {instruction[4] for instruction in self._code}
        self.compared: dict[str, set[int]] = {MAJOR: set(), MINOR: set()}

    def allows(self, kind: int, access: int, major: int, minor: int) -> bool:
        """Return the program's answer for a device; `kind` and `access` as BPF_DEVCG_* are.

        Raises:
            NotEvaluated: the program cannot be followed for this device.
        """
        context = {0: (access << 16 | kind, ""), 4: (major, MAJOR), 8: (minor, MINOR)}
        run = _Run(self, context)
        at = 0
        while True:
            self._left -= 1
            if self._left < 0 or not 0 <= at < len(self._code):
                raise NotEvaluated("it is too long")
            code, target, source, offset, number = self._code[at]
            at += 1
            kind_of_code = code & 7
            if kind_of_code in (ALU, ALU64):
                run.calculate(code, target, source, offset, number)
            elif code == JMP | EXIT:
                return run.answer()
            elif kind_of_code in (JMP, JMP32):
                if run.jumps(code, target, source, number):
                    at += offset
            elif code == LOAD_IMMEDIATE and source == 0:
                upper = self._code[at][4] & NARROW
                run.set(target, (upper << 32 | number & NARROW, ""))
                at += 1
            elif code == LOAD_IMMEDIATE:
                raise NotEvaluated("it reads a map")
            elif code & MODE == MEMORY and kind_of_code == LDX:
                run.load(SIZES[code & 0x18], target, source, offset)
            elif code & MODE == MEMORY:
                value = run.get(source) if kind_of_code == STX else (number & WIDE, "")
                run.store(SIZES[code & 0x18], target, offset, value)
            else:
                raise NotEvaluated(f"it has an instruction {code:#04x}")


class _Run:
    """The registers and the memory of one run."""

    __slots__ = ("_context", "_program", "_registers", "_stack")

    def __init__(self, program: Program, context: dict[int, Value]) -> None:
        self._program = program
        self._context = context
        self._registers: list[Value | None] = [None] * REGISTERS
        self._registers[1] = (0, CONTEXT)
        self._registers[10] = (0, STACK)
        self._stack: dict[int, tuple[int, Value]] = {}

    def get(self, register: int) -> Value:
        value = self._registers[register] if register < REGISTERS else None
        if value is None:
            raise NotEvaluated(f"it uses r{register}, which was never set")
        return value

    def set(self, register: int, value: Value) -> None:
        self._registers[register] = value

    def answer(self) -> bool:
        number, origin = self.get(0)
        if origin:
            raise NotEvaluated("it returns no constant")
        return number & NARROW != 0

    def load(self, size: int, target: int, source: int, offset: int) -> None:
        base, origin = self.get(source)
        at = _signed(base + offset & WIDE, 64)
        if origin == CONTEXT:
            # The first word has the type in its low half and the access in its high one, and may
            # be read in parts.
            word, of_word = self._context.get(at & ~3, (0, CALCULATED))
            shift = 8 * (at & 3 if sys.byteorder == "little" else 4 - size - (at & 3))
            if of_word and (size != 4 or at & 3):
                raise NotEvaluated("it reads a part of a number")
            self.set(target, (word >> shift & (1 << 8 * size) - 1, of_word))
            return
        stored_size, value = self._stack.get(at, (0, (0, "")))
        if origin != STACK or stored_size != size:
            raise NotEvaluated("it reads memory in a way that is not followed")
        self.set(target, value)

    def store(self, size: int, target: int, offset: int, value: Value) -> None:
        base, origin = self.get(target)
        if origin != STACK or (value[1] and size < 4):
            raise NotEvaluated("it writes memory in a way that is not followed")
        at = _signed(base + offset & WIDE, 64)
        for other in [one for one in self._stack if one < at + size and at < one + 8]:
            if other + self._stack[other][0] > at:
                del self._stack[other]
        self._stack[at] = (size, (value[0] & (1 << 8 * size) - 1, value[1]))

    def calculate(self, code: int, target: int, source: int, offset: int, number: int) -> None:
        operation, width = code & OPERATION, NARROW if code & 7 == ALU else WIDE
        if offset:
            raise NotEvaluated(f"it has an instruction {code:#04x} of a newer kind")
        other, other_origin = self.get(source) if code & FROM_REGISTER else (number & WIDE, "")
        if operation == MOVE:
            self.set(target, (other & width, other_origin))
            return
        old, origin = self.get(target)
        if origin in (CONTEXT, STACK) or other_origin in (CONTEXT, STACK):
            if operation not in (ADD, SUBTRACT) or other_origin or width == NARROW:
                raise NotEvaluated("it calculates with addresses")
            self.set(target, (_result(operation, old, other, WIDE), origin))
            return
        result = _result(operation, old & width, other & width, width)
        if origin or other_origin:
            # What a mask leaves as it is remains the device's number.
            origin = origin if result == old and not other_origin else CALCULATED
        self.set(target, (result, origin))

    def jumps(self, code: int, target: int, source: int, number: int) -> bool:
        operation, bits = code & OPERATION, 32 if code & 7 == JMP32 else 64
        if operation == JUMP and code & 7 == JMP:
            return True
        if operation in (JUMP, CALL):
            raise NotEvaluated("it calls a function" if operation == CALL else "it jumps far")
        mask = (1 << bits) - 1
        one, origin = self.get(target)
        other, other_origin = self.get(source) if code & FROM_REGISTER else (number & WIDE, "")
        one, other = one & mask, other & mask
        if origin or other_origin:
            self._note(operation, (one, origin), (other, other_origin))
        return _holds(operation, one, other, bits)

    def _note(self, operation: int, one: Value, other: Value) -> None:
        """Record a comparison with the device's major or minor."""
        if operation not in (EQUAL, NOT_EQUAL) or (one[1] and other[1]):
            raise NotEvaluated("it compares the device's numbers other than with constants")
        origin = one[1] or other[1]
        if origin not in NUMBERS:
            raise NotEvaluated("it calculates with the device's numbers")
        self._program.compared[origin].add(other[0] if one[1] else one[0])


def _registers(pair: int) -> tuple[int, int]:
    """Return target and source. Kernel: bit fields, from the low end on little-endian machines."""
    low, high = pair & 15, pair >> 4
    return (low, high) if sys.byteorder == "little" else (high, low)


def _signed(number: int, bits: int) -> int:
    return number - (1 << bits) if number >> bits - 1 else number


def _result(operation: int, one: int, other: int, width: int) -> int:
    """Return the result of an operation on numbers that fit `width`, a mask."""
    bits = width.bit_length()
    shift = other & bits - 1
    results = {
        ADD: one + other,
        SUBTRACT: one - other,
        0x20: one * other,
        0x40: one | other,
        0x50: one & other,
        0x60: one << shift,
        0x70: one >> shift,
        NEGATE: -one,
        0xA0: one ^ other,
        0xC0: _signed(one, bits) >> shift,
    }
    if operation not in results:
        raise NotEvaluated(f"it has an operation {operation:#04x}")
    return results[operation] & width


def _holds(operation: int, one: int, other: int, bits: int) -> bool:
    signed, signed_other = _signed(one, bits), _signed(other, bits)
    results = {
        EQUAL: one == other,
        NOT_EQUAL: one != other,
        0x20: one > other,
        0x30: one >= other,
        0x40: bool(one & other),
        0x60: signed > signed_other,
        0x70: signed >= signed_other,
        0xA0: one < other,
        0xB0: one <= other,
        0xC0: signed < signed_other,
        0xD0: signed <= signed_other,
    }
    if operation not in results:
        raise NotEvaluated(f"it has a jump {operation:#04x}")
    return results[operation]
