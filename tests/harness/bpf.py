"""Classic BPF as the kernel runs it for seccomp(2), to read a compiled filter without loading it.

Source: kernel networking/filter.rst; linux/bpf_common.h; seccomp(2), struct seccomp_data.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence

MASK = 0xFFFFFFFF
LOAD, LOAD_IMMEDIATE, AND, RETURN, GO = 0x20, 0x00, 0x54, 0x06, 0x05
TESTS: dict[int, Callable[[int, int], bool]] = {
    0x15: lambda a, k: a == k,
    0x25: lambda a, k: a > k,
    0x35: lambda a, k: a >= k,
    0x45: lambda a, k: bool(a & k),
}


def verdict(program: bytes, architecture: int, call: int, arguments: Sequence[int] = ()) -> int:
    """Run `program` for one system call; returns what it returns.

    Raises:
        AssertionError: an instruction the kernel would not take, or a jump out of the program.
    """
    padded = [*arguments, *[0] * (6 - len(arguments))]
    data = struct.pack("=IIQ6Q", call & MASK, architecture, 0, *padded)
    code = list(struct.iter_unpack("=HBBI", program))
    assert 0 < len(code) <= 4096
    accumulator = 0
    position = 0
    while True:
        assert position < len(code), "the program ends without a verdict"
        operation, when_true, when_false, operand = code[position]
        position += 1
        if operation == RETURN:
            return int(operand)
        if operation == LOAD:
            accumulator = struct.unpack_from("=I", data, operand)[0]
        elif operation == LOAD_IMMEDIATE:
            accumulator = operand
        elif operation == AND:
            accumulator &= operand
        elif operation == GO:
            position += operand
        else:
            assert operation in TESTS, f"operation {operation:#x}"
            position += when_true if TESTS[operation](accumulator, operand) else when_false
