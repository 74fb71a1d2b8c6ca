"""What the device programs of a cgroup of v2 allow, as the tables that device rules become.

    program ──► for each number it compares with: allowed access ──► table
    tables of all programs of the cgroup and of those above it ──► what all of them allow

Source: kernel admin-guide/cgroup-v2.rst, "Device controller"; bpf(2); docs/audit.md.
"""

from __future__ import annotations

import os
from errno import EINVAL

from ocirun.audit.ebpf import BLOCK, CHARACTER, MAJOR, MINOR, NotEvaluated, Program
from ocirun.cgroups.devicerules import ANY
from ocirun.cgroups.v2.devicefilter import ACCESS
from ocirun.kernel import bpf

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from ocirun.cgroups.devicerules import Table

KINDS: Final = (("b", BLOCK), ("c", CHARACTER))
# Kernel: a device number has 12 bits of major and 20 of minor.
MAJORS: Final = 1 << 12
MINORS: Final = 1 << 20


def tables_of_cgroup(directory: str) -> tuple[dict[str, Table] | None, list[str]]:
    """Return what the programs of the cgroup `directory` allow, and what could not be evaluated.

    None: no program could be evaluated, or there is none, so that nothing is forbidden. The texts
    name each program that could not, and why.

    Raises:
        OSError: the programs cannot be listed or read.
    """
    tables: dict[str, Table] | None = None
    unknown: list[str] = []
    for prog_id, name, instructions in _programs_of(directory):
        try:
            found = tables_of_program(instructions)
        except NotEvaluated as error:
            unknown.append(f"the eBPF program {name or 'without a name'} (id {prog_id}): {error}")
            continue
        tables = found if tables is None else both(tables, found)
    return tables, unknown


def _programs_of(directory: str) -> list[tuple[int, str, bytes]]:
    """Return id, name and instructions of every program that applies to the cgroup."""
    cgroup_fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        ids = bpf.prog_query(cgroup_fd, bpf.BPF_CGROUP_DEVICE, effective=True)
    except OSError as error:
        if error.errno == EINVAL:  # a kernel without programs of cgroups
            return []
        raise
    finally:
        os.close(cgroup_fd)
    found = []
    for prog_id in ids:
        prog_fd = bpf.prog_get_fd_by_id(prog_id)
        try:
            found.append((prog_id, *bpf.prog_instructions(prog_fd)))
        finally:
            os.close(prog_fd)
    return found


def tables_of_program(instructions: bytes) -> dict[str, Table]:
    """Return what a device program allows: one table for "b" and one for "c".

    There is an entry only where it differs from that of ANY, as in devicerules.table_of.

    Raises:
        NotEvaluated: the program cannot be evaluated, or has too many rules.
    """
    program = Program(instructions)
    # Numbers that the program does not mention stand for all that it does not mention.
    other_major = next(one for one in range(MAJORS - 1, 0, -1) if one not in program.constants)
    other_minor = next(one for one in range(MINORS - 1, 0, -1) if one not in program.constants)
    return {
        name: _Explored(program, kind, other_major, other_minor).table() for name, kind in KINDS
    }


class _Explored:
    """One kind of device: asks the program about each number that it compares with."""

    def __init__(self, program: Program, kind: int, other_major: int, other_minor: int) -> None:
        self._program = program
        self._kind = kind
        self._others = (other_major, other_minor)
        self._majors = [ANY]  # in the order in which they were found

    def table(self) -> Table:
        rows: Table = {}
        for major in self._majors:  # grows meanwhile
            rows[major] = self._row(major, rows.get(ANY, {}))
        every = _short(rows[ANY])
        shortened = {major: _short(row) for major, row in rows.items() if major != ANY}
        return {ANY: every, **{major: row for major, row in shortened.items() if row != every}}

    def _row(self, major: int, every: dict[int, int]) -> dict[int, int]:
        minors = [ANY, *(minor for minor in every if minor != ANY)]
        row: dict[int, int] = {}
        for minor in minors:  # grows meanwhile
            row[minor], compared = self._ask(major, minor)
            minors += sorted(_within(compared[MINOR], MINORS) - {*minors})
            self._majors += sorted(_within(compared[MAJOR], MAJORS) - {*self._majors})
        return row

    def _ask(self, major: int, minor: int) -> tuple[int, dict[str, set[int]]]:
        program = self._program
        program.compared = {MAJOR: set(), MINOR: set()}
        numbers = [
            other if number == ANY else number
            for number, other in zip((major, minor), self._others, strict=True)
        ]
        bits = sum(ours for ours, theirs in ACCESS if program.allows(self._kind, theirs, *numbers))
        # Kernel: blinded constants (net.core.bpf_jit_harden) are not in the instructions.
        if self._others[0] in program.compared[MAJOR] or self._others[1] in program.compared[MINOR]:
            raise NotEvaluated("it hides its constants")
        return bits, program.compared


def _within(numbers: set[int], end: int) -> set[int]:
    return {number for number in numbers if 0 <= number < end}


def _short(row: dict[int, int]) -> dict[int, int]:
    """Leave out what says the same as the entry of ANY."""
    return {minor: bits for minor, bits in row.items() if minor == ANY or bits != row[ANY]}


def both(one: dict[str, Table], other: dict[str, Table]) -> dict[str, Table]:
    """Return what both allow."""
    return {kind: _both(one[kind], other[kind]) for kind in one}


def _both(one: Table, other: Table) -> Table:
    rows: Table = {}
    for major in {ANY: 0, **one, **other}:
        left, right = one.get(major, one[ANY]), other.get(major, other[ANY])
        rows[major] = _short(
            {
                minor: left.get(minor, left[ANY]) & right.get(minor, right[ANY])
                for minor in {ANY: 0, **left, **right}
            }
        )
    return {major: row for major, row in rows.items() if major == ANY or row != rows[ANY]}
