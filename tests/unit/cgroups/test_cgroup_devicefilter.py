"""config-linux.md#allowed-device-list as a v2 program, run by an interpreter of seven opcodes."""

from __future__ import annotations

import struct
import sys
from typing import TYPE_CHECKING

import pytest
from harness.devicerules import RULES, last_match_wins, permits
from hypothesis import example, given, settings

from ocirun.cgroups.devicerules import ANY, table_of, verdicts_of
from ocirun.cgroups.v2.devicefilter import assemble, instructions_of, program_of
from ocirun.errors import SetupError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

BITS = {"m": 1, "r": 2, "w": 4}
TYPES = {"b": 1, "c": 2}
ASKED = ["r", "w", "m", "rw", "rwm"]
DEVICES = [(kind, major, minor) for kind in "bc" for major in (1, 2, 3) for minor in (1, 2, 3)]
ALL = {"allow": True, "access": "rwm"}
NOTHING = {"allow": False, "access": "rwm"}


def run(program: bytes, context: bytes, order: str = sys.byteorder) -> int:
    """Do what the kernel does, on a machine of that byte order; jumps go forwards only."""
    mark = "<" if order == "little" else ">"
    code = list(struct.iter_unpack(f"{mark}BBhi", program))
    registers: dict[int, int | None] = {1: None}  # 1 points to the context
    place = 0
    while True:
        opcode, pair, offset, number = code[place]
        target, source = (pair & 15, pair >> 4) if order == "little" else (pair >> 4, pair & 15)
        place += 1
        if opcode == 0x95:
            result = registers[0]
            assert result in (0, 1)
            return result
        if opcode == 0x61:
            assert source == 1
            registers[target] = struct.unpack_from(f"{mark}I", context, offset)[0]
        elif opcode == 0x55:
            value = registers[target]
            assert value is not None
            assert offset >= 0
            place += offset if value != number & 2**64 - 1 else 0
        else:
            registers[target] = computed(opcode, registers, target, source, number)


def computed(
    opcode: int, registers: Mapping[int, int | None], target: int, source: int, number: int
) -> int:
    if opcode == 0xB7:
        return number & 2**64 - 1
    value = registers[source if opcode == 0xBF else target]
    assert value is not None
    if opcode == 0x77:
        return value >> number
    if opcode == 0x57:
        return value & number & 2**64 - 1
    assert opcode == 0xBF, f"opcode {opcode:#x}"
    return value


class Filter:
    """The program of some rules, to be asked on both kinds of machine."""

    def __init__(self, rules: Iterable[Mapping[str, object]]) -> None:
        code = instructions_of(table_of(rules))
        self.programs = {order: assemble(code, order) for order in ("little", "big")}

    def allows(self, device: tuple[str, int, int], asked: str) -> bool:
        kind, *numbers = device
        access = sum(BITS[letter] for letter in asked)
        words = [access << 16 | TYPES[kind], *numbers]
        answers = {
            run(program, struct.pack("<III" if order == "little" else ">III", *words), order)
            for order, program in self.programs.items()
        }
        assert len(answers) == 1
        return bool(answers.pop())


@settings(deadline=None)
@given(RULES)
@example([ALL, {**NOTHING, "type": "c", "major": 1}, {**ALL, "type": "c", "major": 1, "minor": 1}])
@example([ALL, {"allow": False, "type": "c", "access": "w"}])
def test_the_program_says_what_the_list_says(rules: list[dict[str, object]]) -> None:
    program = Filter(rules)
    for device in DEVICES:
        for asked in ASKED:
            wanted = all(last_match_wins(rules, (*device, letter)) for letter in asked)
            assert program.allows(device, asked) == wanted, (device, asked)


@given(RULES)
def test_the_program_says_what_v1_says_where_v1_can_say_it(rules: list[dict[str, object]]) -> None:
    try:
        verdicts = verdicts_of(rules)
    except SetupError:
        return  # a hole in a wider rule, which only a program can have
    program = Filter(rules)
    for device in DEVICES:
        for letter in "rwm":
            assert program.allows(device, letter) == permits(verdicts, (*device, letter))


@given(RULES)
def test_a_table_has_no_entry_that_says_nothing_new(rules: list[dict[str, object]]) -> None:
    for table in table_of(rules).values():
        others = table[ANY]
        for major, row in table.items():
            assert major == ANY or row != others
            assert all(minor == ANY or bits != row[ANY] for minor, bits in row.items())


def test_reading_is_no_way_around_a_rule_against_writing() -> None:
    rules = [ALL, {"allow": False, "type": "b", "major": 8, "access": "w"}]
    assert Filter(rules).allows(("b", 8, 0), "r")
    assert not Filter(rules).allows(("b", 8, 0), "rw")


@pytest.mark.parametrize(
    ("rules", "count"),
    [
        ([], 6 + 1 + 2 + 2),
        ([NOTHING], 11),
        ([ALL, NOTHING], 11),
        ([{**ALL, "type": "c", "major": 1, "minor": 3}], 11 + 1 + 1 + 2 + 2),
        ([{**ALL, "type": "c", "major": 2**31}], 11),  # no device has such a number
        ([{**ALL, "type": "b"}, {"allow": False, "type": "b", "access": "w"}], 11 + 3),
    ],
)
def test_the_program_is_small(rules: list[dict[str, object]], count: int) -> None:
    program = program_of(rules)
    assert program is not None
    assert len(program) == 8 * count


def test_nothing_forbidden_needs_no_program() -> None:
    assert program_of([NOTHING, {"allow": True}, {**ALL, "type": "c", "major": 1}]) is None


def test_an_exact_program_byte_by_byte() -> None:
    expected = {
        "little": "6112000000000000 bf23000000000000 7703000010000000 57020000ffff0000"
        "6114040000000000 6115080000000000 5502020001000000 b700000000000000"
        "9500000000000000 57030000fdffffff b700000000000000 5503010000000000"
        "b700000001000000 9500000000000000",
        "big": "6121000000000000 bf32000000000000 7730000000000010 572000000000ffff"
        "6141000400000000 6151000800000000 5520000200000001 b700000000000000"
        "9500000000000000 57300000fffffffd b700000000000000 5530000100000000"
        "b700000000000001 9500000000000000",
    }
    code = instructions_of(table_of([{"allow": True, "type": "c", "access": "r"}]))
    for order, text in expected.items():
        assert assemble(code, order) == bytes.fromhex(text), order


def test_a_program_that_would_be_too_long_is_refused() -> None:
    rules = [{**ALL, "type": "c", "major": 1, "minor": minor} for minor in range(11000)]
    with pytest.raises(SetupError, match=r"^device rules: there are too many for an eBPF program$"):
        program_of(rules)


def test_what_is_not_a_device_is_refused() -> None:
    with pytest.raises(SetupError, match="device rule of type 'p': only a, b and c"):
        program_of([{**ALL, "type": "p"}])
