"""The interpreter of classic BPF says what the kernel does: programs are loaded and called.

Each program ends by returning an errno that it has calculated; the kernel hands it to the caller.

Source: seccomp(2); kernel networking/filter.rst.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ocirun.audit.cbpf import ALLOW, LOG, Filter, action_of, passes
from ocirun.kernel.prctl import set_no_new_privs
from ocirun.kernel.seccomp import load_filter

Code = list[tuple[int, int, int, int]]

GETPPID = {"x86_64": 110, "aarch64": 173}.get(os.uname().machine, -1)
AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}.get(os.uname().machine, 0)
ERRNO = 0x00050000
LD_ABS, LD_IMM, LD_MEM, LD_LEN = 0x20, 0x00, 0x60, 0x80
LDX_IMM, LDX_MEM, LDX_LEN = 0x01, 0x61, 0x81
ST, STX, TAX, TXA = 0x02, 0x03, 0x07, 0x87
RET_K, RET_A = 0x06, 0x16
ALU = [0x04, 0x14, 0x24, 0x34, 0x44, 0x54, 0x64, 0x74, 0xA4]  # add … rsh, xor; mod is not there
JUMPS = [0x15, 0x25, 0x35, 0x45]
TAIL: Code = [
    # Bring A down to one of 1 to 2047, so that it is an errno, and return it for getppid alone.
    (0x54, 0, 0, 0x7FF),
    (0x44, 0, 0, 1),
    (0x44, 0, 0, ERRNO),
    (ST, 0, 0, 15),
    (LD_ABS, 0, 0, 0),
    (0x15, 1, 0, GETPPID),
    (RET_K, 0, 0, ALLOW),
    (LD_MEM, 0, 0, 15),
    (RET_A, 0, 0, 0),
]
NUMBERS = st.one_of(st.integers(0, 0xFFFFFFFF), st.integers(0, 64), st.just(0xFFFFFFFF))


def packed(code: Code) -> bytes:
    return b"".join(struct.pack("=HBBI", *one) for one in code)


@st.composite
def programs(draw: st.DrawFn) -> Code:
    """A program of instructions that seccomp takes, then TAIL; scratch is written before read."""
    code: Code = [(LD_IMM, 0, 0, draw(NUMBERS)), (LDX_IMM, 0, 0, draw(NUMBERS))]
    code += [(ST if n % 2 else STX, 0, 0, n) for n in range(4)]
    count = draw(st.integers(1, 20))
    for index in range(count):
        kind = draw(st.integers(0, 6))
        left = count - index - 1
        if kind == 0:
            code.append((LD_ABS, 0, 0, 4 * draw(st.integers(0, 15))))
        elif kind == 1:
            code.append((draw(st.sampled_from([LD_MEM, LDX_MEM])), 0, 0, draw(st.integers(0, 3))))
        elif kind == 2:
            code.append((draw(st.sampled_from([ST, STX])), 0, 0, draw(st.integers(0, 3))))
        elif kind == 3:
            code.append((draw(st.sampled_from([TAX, TXA, LD_LEN, LDX_LEN, 0x84])), 0, 0, 0))
        elif kind == 4:
            code.append(draw(_jump(left)))
        else:
            code.append(draw(_arithmetic()))
    return [*code, *TAIL]


@st.composite
def _jump(draw: st.DrawFn, left: int) -> tuple[int, int, int, int]:
    if draw(st.integers(0, 4)) == 0:
        return (0x05, 0, 0, draw(st.integers(0, left)))
    code = draw(st.sampled_from(JUMPS)) | draw(st.sampled_from([0, 8]))
    return (code, draw(st.integers(0, left)), draw(st.integers(0, left)), draw(NUMBERS))


@st.composite
def _arithmetic(draw: st.DrawFn) -> tuple[int, int, int, int]:
    operation = draw(st.sampled_from(ALU))
    # Division by X could be one by zero, which kills; a test of its own has that.
    by_x = draw(st.sampled_from([0, 8])) if operation != 0x34 else 0
    operand = draw(NUMBERS)
    if operation in (0x64, 0x74):
        operand %= 32
    return (operation | by_x, 0, 0, operand or 1)


def in_kernel(code: Code, arguments: Sequence[int]) -> int:
    """Load the program in a child, make one call there, and return its errno; -1 if it died."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            libc = ctypes.CDLL(None, use_errno=True)
            set_no_new_privs()
            load_filter(packed(code), 0)
            words = [ctypes.c_ulong(value) for value in arguments]
            ctypes.set_errno(0)
            libc.syscall(ctypes.c_long(GETPPID), *words)
            os.write(writing, struct.pack("=i", ctypes.get_errno()))
            status = 0
        finally:
            os._exit(status)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    return int(struct.unpack("=i", said)[0]) if said else -1


@pytest.mark.skipif(GETPPID < 0, reason="this is not about other machines")
@settings(max_examples=50, deadline=None)
@given(programs(), st.lists(st.integers(0, 2**64 - 1), min_size=6, max_size=6))
def test_a_program_returns_what_it_returns_in_the_kernel(code: Code, arguments: list[int]) -> None:
    # The instruction pointer is the kernel's to know: programs do not load it.
    code = [(LD_IMM, 0, 0, 7) if one[0] == LD_ABS and one[3] in (8, 12) else one for one in code]
    verdict = Filter(packed(code)).verdict(AUDIT_ARCH, GETPPID, arguments)
    assert verdict & ~0x7FF == ERRNO
    assert in_kernel(code, arguments) == verdict & 0x7FF


@pytest.mark.skipif(GETPPID < 0, reason="this is not about other machines")
def test_a_division_by_zero_kills() -> None:
    code: Code = [(LD_ABS, 0, 0, 0), (0x15, 1, 0, GETPPID), (RET_K, 0, 0, ALLOW)]
    code += [(LDX_IMM, 0, 0, 0), (0x3C, 0, 0, 0), *TAIL]
    assert Filter(packed(code)).verdict(AUDIT_ARCH, GETPPID) == 0
    assert in_kernel(code, []) == -1


def test_of_several_filters_the_strictest_counts() -> None:
    def one(action: int) -> Filter:
        return Filter(packed([(RET_K, 0, 0, action)]))

    assert action_of([], 0, 0) == ALLOW
    assert action_of([one(ALLOW), one(LOG)], 0, 0) == LOG
    assert action_of([one(ALLOW), one(ERRNO | 1), one(LOG)], 0, 0) == ERRNO
    # Killing the process is a negative number, and comes before killing the thread.
    assert action_of([one(0), one(0x80000000), one(ERRNO)], 0, 0) == 0x80000000
    assert passes(LOG)
    assert not passes(ERRNO)


def test_a_program_without_an_end_is_refused() -> None:
    with pytest.raises(ValueError, match="without a verdict"):
        Filter(packed([(LD_IMM, 0, 0, 1)])).verdict(0, 0)
    with pytest.raises(ValueError, match="no load"):
        Filter(packed([(0x28, 0, 0, 0)])).verdict(0, 0)


def test_words_are_in_the_order_of_this_machine() -> None:
    code: Code = [(LD_ABS, 0, 0, 16), (RET_A, 0, 0, 0)]
    low = 1 if sys.byteorder == "little" else 0
    assert Filter(packed(code)).verdict(0, 0, [1]) == low
