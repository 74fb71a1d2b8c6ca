"""docs/spec.md is whole and fresh: a property without row, code or test is a failure here."""

from __future__ import annotations

import pytest
from harness import spec_table
from harness.spec_table import Entry, covers, properties, read_entries

from ocirun.process.refusals import NOT_YET


def test_every_property_has_its_row_its_code_and_its_test() -> None:
    assert spec_table.problems() == []


def test_the_page_is_fresh() -> None:
    assert spec_table.PAGE.read_text() == spec_table.page(), "call tools/spec-table"


def test_what_is_refused_says_so_and_nothing_else_does() -> None:
    entries = read_entries(spec_table.DATA.read_text())
    refused = {
        one.name
        for one in properties()
        for entry in entries
        if entry.state == "refused" and covers(entry.pattern, one.name)
    }
    expected = {
        one.name
        for one in properties()
        for section, name in NOT_YET
        if covers(f"{section}.{name}**", one.name)
    }
    assert refused == expected


def test_properties_are_those_of_the_schemas() -> None:
    names = [one.name for one in properties()]
    assert len(names) == len(set(names)) > 230
    for name in (
        "ociVersion", "process.user.uid", "mounts[].uidMappings[].size", "hooks.poststop[].timeout",
        "linux.timeOffsets.NAME.secs", "linux.resources.blockIO.throttleReadBpsDevice[].rate",
        "linux.seccomp.syscalls[].args[].valueTwo", "linux.intelRdt.closID", "vm",
    ):  # fmt: skip
        assert name in names


@pytest.mark.parametrize(
    ("pattern", "name", "yes"),
    [
        ("process.user.{uid,gid}", "process.user.gid", True),
        ("process.user.{uid,gid}", "process.user.umask", False),
        ("hooks.*[].path", "hooks.prestart[].path", True),
        ("hooks.*[].path", "hooks.prestart", False),
        ("linux.intelRdt**", "linux.intelRdt.closID", True),
        ("linux.intelRdt**", "linux.intelRdt", True),
        ("linux.sysctl", "linuxXsysctl", False),
        ("mounts[].{uidMappings,gidMappings}", "mounts[].uidMappings[].size", False),
    ],
)
def test_a_pattern_covers_its_names(pattern: str, name: str, yes: bool) -> None:
    assert covers(pattern, name) == yes


@pytest.mark.parametrize("text", ["[a]\nwho = 1", '[a]\nstate = "later"'])
def test_unknown_words_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no field or state"):
        read_entries(text)


def test_holes_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    good = ("process/rlimits.py",), ("unit/test_spec_table.py::test_patterns",)
    entries = [
        Entry("root.path", *good),
        Entry("process.rlimits[].type", ("gone.py",), good[1]),
        Entry("process.rlimits[].soft", good[0], ("unit/test_spec_table.py::test_gone",)),
        Entry("process.rlimits[].hard", good[0]),
        Entry("process.rlimits[].{hard,soft}", *good),
        Entry("process.env", (), good[1]),
        Entry("process.speed", *good),
    ]
    monkeypatch.setattr(spec_table, "read_entries", lambda _: entries)
    found = spec_table.problems()
    for words in (
        "root.path: none of its code has the word path",
        "process.rlimits[].type: there is no ocirun/gone.py",
        "process.rlimits[].soft: unit/test_spec_table.py::test_gone is no test",
        "process.rlimits[].hard: no test",
        "process.rlimits[].hard: 2 entries",
        "process.env: no code",
        "process.speed: there is no such property",
        "process.args: no entry in docs/spec.toml",
    ):
        assert words in found
    assert "process.rlimits: no entry in docs/spec.toml" not in found
