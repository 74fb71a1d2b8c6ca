"""Device programs are read back as the rules that they hold, also those of others.

Source: kernel admin-guide/cgroup-v2.rst, "Device controller"; docs/audit.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from harness.device_programs import (
    AND,
    BLOCK,
    CALL,
    EXIT,
    LOAD_HALF,
    LOAD_WORD,
    MOVE,
    MOVE_REGISTER,
    UNEQUAL,
    chain,
)
from harness.devicerules import QUESTIONS, RULES, last_match_wins
from hypothesis import given, settings

from ocirun.audit.device_programs import both, tables_of_program
from ocirun.audit.ebpf import NotEvaluated, Program
from ocirun.cgroups.devicerules import ANY, EVERYTHING, bits_of, table_of
from ocirun.cgroups.v2.devicefilter import assemble, instructions_of

if TYPE_CHECKING:
    from ocirun.cgroups.devicerules import Table
    from ocirun.cgroups.v2.devicefilter import Instruction

NO: list[Instruction] = [(MOVE, 0, 0, 0, 0), (EXIT, 0, 0, 0, 0)]


def allows(tables: dict[str, Table], question: tuple[str, int, int, str]) -> bool:
    kind, major, minor, letter = question
    row = tables[kind].get(major, tables[kind][ANY])
    return bool(row.get(minor, row[ANY]) & bits_of(letter))


@settings(deadline=None)
@given(RULES)
def test_our_own_program_is_read_back_as_its_table(rules: list[dict[str, object]]) -> None:
    table = table_of(rules)
    assert tables_of_program(assemble(instructions_of(table))) == table


@settings(deadline=None)
@given(RULES)
def test_a_chain_of_rules_is_read_as_the_rules(rules: list[dict[str, object]]) -> None:
    """The form that other runtimes and systemd write: rule after rule, the last one first."""
    tables = tables_of_program(assemble(chain(rules)))
    for question in QUESTIONS:
        assert allows(tables, question) == last_match_wins(rules, question), question
    assert tables == table_of(rules)


@given(RULES, RULES)
def test_of_two_programs_both_have_to_allow(
    rules: list[dict[str, object]], more: list[dict[str, object]]
) -> None:
    one, other = table_of(rules), table_of(more)
    tables = both(one, other)
    for question in QUESTIONS:
        assert allows(tables, question) == (allows(one, question) and allows(other, question))


def test_values_pass_through_memory_and_parts_of_the_context() -> None:
    """Type and access in halves, the major by way of the stack, by 32-bit operations."""
    code: list[Instruction] = [
        (LOAD_HALF, 2, 1, 0, 0),
        (LOAD_HALF, 3, 1, 2, 0),
        (LOAD_WORD, 4, 1, 4, 0),
        (0x63, 10, 4, -4, 0),  # *(u32 *)(r10 - 4) = r4
        (0x7B, 10, 3, -16, 0),  # *(u64 *)(r10 - 16) = r3
        (MOVE_REGISTER, 6, 10, 0, 0),
        (0x07, 6, 0, 0, -4),  # r6 += -4
        (0x61, 7, 6, 0, 0),  # r7 = *(u32 *)r6
        (0xBC, 7, 7, 0, 0),  # w7 = w7
        (0x54, 7, 0, 0, -1),  # w7 &= 0xffffffff
        (UNEQUAL, 2, 0, 4, BLOCK),
        (0x18, 8, 0, 0, 8),  # r8 = 8, in 64 bits
        (0, 0, 0, 0, 0),
        (0x5D, 7, 8, 1, 0),  # r7 != r8
        (0x05, 0, 0, 2, 0),
        *NO,
        (0x79, 9, 10, -16, 0),
        (0x56, 9, 0, 2, 2),  # w9 != 2 (read)
        (MOVE, 0, 0, 0, 1),
        (EXIT, 0, 0, 0, 0),
        *NO,
    ]
    rules = [{"allow": True, "type": "b", "major": 8, "access": "r"}]
    assert tables_of_program(assemble(code)) == table_of(rules)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ([(0x18, 2, 1, 0, 3), (0, 0, 0, 0, 0), *NO], "it reads a map"),
        ([(CALL, 0, 0, 0, 5), *NO], "it calls a function"),
        ([(LOAD_WORD, 4, 1, 4, 0), (0x25, 4, 0, 0, 8), *NO], "other than with constants"),
        ([(LOAD_WORD, 4, 1, 4, 0), (LOAD_WORD, 5, 1, 8, 0), (0x1D, 4, 5, 0, 0), *NO],
         "other than with constants"),
        ([(LOAD_WORD, 4, 1, 4, 0), (AND, 4, 0, 0, 15), (UNEQUAL, 4, 0, 0, 8), *NO],
         "calculates with the device's numbers"),
        ([(LOAD_WORD, 0, 1, 4, 0), (EXIT, 0, 0, 0, 0)], "it returns no constant"),
        ([(LOAD_HALF, 4, 1, 4, 0), *NO], "it reads a part of a number"),
        ([(0x05, 0, 0, -1, 0)], "it is too long"),
        ([(MOVE, 0, 0, 0, 0)], "it is too long"),
        ([(MOVE_REGISTER, 0, 6, 0, 0), (EXIT, 0, 0, 0, 0)], "r6, which was never set"),
        ([(0x61, 2, 10, -4, 0), *NO], "it reads memory"),
        ([(0x7B, 1, 1, 0, 0), *NO], "it writes memory"),
        ([(0xDB, 10, 1, -8, 0), *NO], "an instruction 0xdb"),
        ([(0x57, 1, 0, 0, 3), *NO], "calculates with addresses"),
    ],
)  # fmt: skip
def test_what_cannot_be_followed_is_not_guessed(code: list[Instruction], reason: str) -> None:
    with pytest.raises(NotEvaluated, match=reason):
        tables_of_program(assemble(code))


def test_a_blinded_constant_is_not_taken_for_the_rest() -> None:
    """Kernel: net.core.bpf_jit_harden splits constants into two that are combined at run time."""
    code: list[Instruction] = [
        (LOAD_WORD, 4, 1, 4, 0),
        (MOVE, 11, 0, 0, 4095 ^ 0x5A5A),
        (0xA7, 11, 0, 0, 0x5A5A),
        (0x5D, 4, 11, 2, 0),
        (MOVE, 0, 0, 0, 1),
        (EXIT, 0, 0, 0, 0),
        *NO,
    ]
    with pytest.raises(NotEvaluated, match="it hides its constants"):
        tables_of_program(assemble(code))


def test_a_program_that_allows_everything() -> None:
    code: list[Instruction] = [(MOVE, 0, 0, 0, 1), (EXIT, 0, 0, 0, 0)]
    assert tables_of_program(assemble(code)) == {kind: {ANY: {ANY: EVERYTHING}} for kind in "bc"}
    assert Program(assemble(code)).allows(BLOCK, 2, 8, 0)
