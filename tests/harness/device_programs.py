"""Device programs in the form that others write them: a chain of rules, asked one by one.

Source: kernel admin-guide/cgroup-v2.rst, "Device controller"; linux/bpf.h.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ocirun.cgroups.v2.devicefilter import assemble
from ocirun.kernel import bpf

if TYPE_CHECKING:
    from ocirun.cgroups.v2.devicefilter import Instruction

BLOCK, CHARACTER = 1, 2
LOAD_WORD, LOAD_HALF = 0x61, 0x69
MOVE, MOVE_REGISTER, AND, SHIFT_RIGHT = 0xB7, 0xBF, 0x57, 0x77
UNEQUAL, UNEQUAL_REGISTER, CALL, EXIT = 0x55, 0x5D, 0x85, 0x95
ALLOW: list[Instruction] = [(MOVE, 0, 0, 0, 1), (EXIT, 0, 0, 0, 0)]
ACCESS = {"m": 1, "r": 2, "w": 4}


def chain(rules: Sequence[Mapping[str, object]]) -> list[Instruction]:
    """The last rule first, and "no" after all of them."""
    code: list[Instruction] = [
        (LOAD_WORD, 2, 1, 0, 0),
        (AND, 2, 0, 0, 0xFFFF),
        (LOAD_WORD, 3, 1, 0, 0),
        (SHIFT_RIGHT, 3, 0, 0, 16),
        (LOAD_WORD, 4, 1, 4, 0),
        (LOAD_WORD, 5, 1, 8, 0),
    ]
    for rule in reversed(rules):
        code += _rule(rule)
    return [*code, (MOVE, 0, 0, 0, 0), (EXIT, 0, 0, 0, 0)]


def _rule(rule: Mapping[str, object]) -> list[Instruction]:
    tests: list[list[Instruction]] = []
    kind = rule.get("type", "a")
    if kind != "a":
        tests.append([(UNEQUAL, 2, 0, 0, BLOCK if kind == "b" else CHARACTER)])
        bits = sum(ACCESS[letter] for letter in str(rule["access"]))
        tests.append([(MOVE_REGISTER, 1, 3, 0, 0), (AND, 1, 0, 0, bits),
                      (UNEQUAL_REGISTER, 1, 3, 0, 0)])  # fmt: skip
        for register, name in ((4, "major"), (5, "minor")):
            number = rule.get(name)
            if isinstance(number, int) and number >= 0:
                tests.append([(UNEQUAL, register, 0, 0, number)])
    answer: list[Instruction] = [(MOVE, 0, 0, 0, int(bool(rule["allow"]))), (EXIT, 0, 0, 0, 0)]
    flat = [one for test in tests for one in test]
    size = len(flat) + len(answer)
    return [
        (code, to, source, size - place - 1 if code in (UNEQUAL, UNEQUAL_REGISTER) else 0, number)
        for place, (code, to, source, _, number) in enumerate(flat)
    ] + answer


@contextmanager
def attached(directory: str, code: list[Instruction], name: str = "foreign") -> Iterator[int]:
    """Attach a program to a cgroup for as long as the block lasts; gives its id."""
    kind = bpf.BPF_PROG_TYPE_CGROUP_DEVICE
    prog_fd = bpf.prog_load(kind, assemble(code), "GPL", name)
    cgroup_fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        bpf.prog_attach(cgroup_fd, prog_fd, bpf.BPF_CGROUP_DEVICE, bpf.BPF_F_ALLOW_MULTI)
        yield bpf.prog_query(cgroup_fd, bpf.BPF_CGROUP_DEVICE)[-1]
        bpf.prog_detach(cgroup_fd, prog_fd, bpf.BPF_CGROUP_DEVICE)
    finally:
        os.close(prog_fd)
        os.close(cgroup_fd)
