"""docs/spec.md: every property of config.json with its code, its proof and what peers do.

    tools/spec-table             writes docs/spec.md
    tools/spec-table --check     says what is wrong and writes nothing

The properties come from schemas/, the rest from docs/spec.toml, one entry for each property or for
a few alike: `"process.user.{uid,gid}"`, `"hooks.*.path"`; a final `**` is all that is below.
Needs nothing but the standard library.
"""

from __future__ import annotations

import ast
import json
import re
import sys
import tomllib
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

REPO = Path(__file__).parents[2]
SCHEMAS = REPO / "schemas" / "config"
DATA = REPO / "docs" / "spec.toml"
PAGE = REPO / "docs" / "spec.md"

# What is done with a property; without one of these words it is acted on.
STATES = {
    "refused": "refused with a sentence until its code is here (process/refusals.py)",
    "ignored": "has no effect, as the specification has it",
    "outline": "of another platform: only its outline is checked",
}
SECTIONS = [
    "config.json",
    "process",
    "mounts",
    "hooks",
    "linux",
    "linux.resources",
    "linux.seccomp",
]
FIELDS = {"code", "tests", "state", "note", "peers"}
HEAD = """# Every property of config.json

Made by `tools/spec-table` from `schemas/` and `docs/spec.toml`; edit those. A test fails when a
property has no row, no code or no test, when one of them is gone, and when this page is old.

Paths of code are below `ocirun/`, those of tests below `tests/`. Every property is checked by
`spec/checks.py` (made from `schemas/`; held against the reference schemas by `fuzz/`) and, where
two members or the host matter, by `spec/rules.py`; the columns say what acts on it and what proves
that. Tests of `integration/` run containers on the real kernel, and the same tests run against
Debian's runc (1.1); where that does otherwise the test says so, and so does the last column, with
the test's name. crun (1.8) is named where it was tried. Nothing there means that peers do the same,
as far as is known.
"""


class Property(NamedTuple):
    """One property: its place (`mounts[].type`), its description, whether it has members."""

    name: str
    about: str
    inner: bool


class Entry(NamedTuple):
    """One entry of docs/spec.toml."""

    pattern: str
    code: tuple[str, ...] = ()
    tests: tuple[str, ...] = ()
    state: str = ""
    note: str = ""
    peers: str = ""


def properties() -> list[Property]:
    """List the properties of config.json, in the order of the schemas."""
    found: list[Property] = []
    place = SCHEMAS / "config.json"
    _walk(_load(place), place, "", found)
    return found


@cache
def _load(place: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(place.read_bytes())
    return document


def _follow(node: dict[str, Any], place: Path) -> tuple[dict[str, Any], Path]:
    """Follow a $ref to what it stands for and the file that is in."""
    while "$ref" in node:
        file, _, fragment = node["$ref"].partition("#")
        place = (place.parent / file).resolve() if file else place
        target = _load(place)
        for step in fragment.strip("/").split("/"):
            target = target[step] if step else target
        node = {**target, **{key: text for key, text in node.items() if key == "description"}}
    return node, place


def _walk(node: dict[str, Any], place: Path, name: str, found: list[Property]) -> None:
    node, place = _follow(node, place)
    for key, member in node.get("properties", {}).items():
        below = f"{name}.{key}" if name else key
        inside, _ = _follow(member, place)
        index = len(found)
        found.append(Property(below, inside.get("description", ""), inner=False))
        _walk(member, place, below, found)
        found[index] = found[index]._replace(inner=len(found) > index + 1)
    if isinstance(node.get("items"), dict):
        _walk(node["items"], place, f"{name}[]", found)
    if isinstance(node.get("additionalProperties"), dict):
        _walk(node["additionalProperties"], place, f"{name}.NAME", found)


def read_entries(text: str) -> list[Entry]:
    """Read docs/spec.toml.

    Raises:
        ValueError: a field or a state that nobody knows.
    """
    entries = []
    for pattern, fields in tomllib.loads(text).items():
        unknown = set(fields) - FIELDS
        if unknown or fields.get("state", "ignored") not in STATES:
            raise ValueError(f"{pattern}: {unknown or fields['state']} is no field or state")
        code, tests = (tuple(fields.pop(key, ())) for key in ("code", "tests"))
        entries.append(Entry(pattern, code, tests, **fields))
    return entries


def covers(pattern: str, name: str) -> bool:
    """Tell whether an entry's pattern is about a property."""
    text = ""
    for part in re.split(r"(\*\*|\*|\{[^}]*\})", pattern):
        if part == "**":
            text += ".*"
        elif part == "*":
            text += r"[^.\[]*"
        elif part.startswith("{"):
            text += "(" + "|".join(map(re.escape, part[1:-1].split(","))) + ")"
        else:
            text += re.escape(part)
    return re.fullmatch(text, name) is not None


def problems() -> list[str]:
    """Say what the table lacks: rows, code, tests; entries about nothing; refusals untold."""
    known = properties()
    entries = read_entries(DATA.read_text())
    found = []
    for entry in entries:
        about = [one for one in known if covers(entry.pattern, one.name)]
        if not about:
            found.append(f"{entry.pattern}: there is no such property")
        found += _entry_problems(entry, about)
    for one in known:
        rows = [entry for entry in entries if covers(entry.pattern, one.name)]
        if len(rows) > 1:
            found.append(f"{one.name}: {len(rows)} entries")
        if not rows and not one.inner:
            found.append(f"{one.name}: no entry in docs/spec.toml")
    return found


def _entry_problems(entry: Entry, about: list[Property]) -> list[str]:
    found = []
    if not entry.tests and entry.state != "outline":
        found.append(f"{entry.pattern}: no test")
    if (
        not entry.code
        and entry.state != "outline"
        and not (entry.state == "ignored" and entry.note)
    ):
        found.append(f"{entry.pattern}: no code")
    sources = ""
    for path in entry.code:
        if (REPO / "ocirun" / path).is_file():
            sources += (REPO / "ocirun" / path).read_text()
        else:
            found.append(f"{entry.pattern}: there is no ocirun/{path}")
    found += [
        f"{entry.pattern}: {test} is no test" for test in entry.tests if _lookup(test) is None
    ]
    if not entry.state:
        names = [re.split(r"[.\[]", one.name.replace("[]", ""))[-1] for one in about]
        found += [
            f"{entry.pattern}: none of its code has the word {name}"
            for name in names
            if not re.search(rf"\b{name}\b", sources)
        ]
    return found


@cache
def _tests_of(path: Path) -> dict[str, list[str]]:
    """List the tests of a file (`function`, `Class::function`), with what peers do otherwise."""
    found = {}
    body = ast.parse(path.read_text()).body
    marks = {
        target.id: node.value
        for node in body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for node in body:
        for one in node.body if isinstance(node, ast.ClassDef) else [node]:
            if isinstance(one, ast.FunctionDef) and one.name.startswith("test_"):
                name = one.name if one is node else f"{getattr(node, 'name', '')}::{one.name}"
                found[name] = _deviations(one, marks)
    return found


def _deviations(test: ast.FunctionDef, marks: dict[str, ast.expr]) -> list[str]:
    """Read the `peer_deviates(peer, reason)` marks of a test, also those with a name."""
    found = []
    for mark in test.decorator_list:
        call = marks.get(mark.id, mark) if isinstance(mark, ast.Name) else mark
        if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "peer_deviates":
            peer, reason = (ast.literal_eval(argument) for argument in call.args)
            found.append(f"{peer}: {reason} ({test.name.removeprefix('test_')})")
    return found


def _lookup(test: str) -> list[str] | None:
    """What peers do otherwise in a test; None when there is no such test."""
    path, _, name = test.partition("::")
    place = REPO / "tests" / path
    return _tests_of(place).get(name) if place.is_file() else None


def page() -> str:
    """Lay the table out, a section for each part of config.json."""
    entries = read_entries(DATA.read_text())
    lines = [HEAD]
    section = collapsed = ""
    for one in sorted(properties(), key=lambda one: SECTIONS.index(_section(one.name))):
        entry = next((e for e in entries if covers(e.pattern, one.name)), None)
        if entry and entry.pattern.endswith("**"):
            if entry.pattern == collapsed:
                continue
            collapsed = entry.pattern
        if _section(one.name) != section:
            section = _section(one.name)
            lines += ["", f"## {section}", "", "| property | code | proved by | peers |"]
            lines.append("| --- | --- | --- | --- |")
        lines.append(_row(one, entry))
    return "\n".join(lines) + "\n"


def _section(name: str) -> str:
    """Name the longest section that a property is in."""
    parts = [part for part in SECTIONS if re.match(rf"{re.escape(part)}($|\.|\[)", name)]
    return max(parts, key=len, default=SECTIONS[0])


def _row(one: Property, entry: Entry | None) -> str:
    name = f"`{one.name}`<br>{_cell(one.about)}" if one.about else f"`{one.name}`"
    if entry is None:
        return f"| {name} | its members, below | | |"
    code = "<br>".join(f"[{path}](../ocirun/{path})" for path in entry.code)
    said = ". ".join(filter(None, (STATES.get(entry.state, ""), entry.note)))
    code = "<br>".join(filter(None, (code, _cell(said))))
    tests = "<br>".join(_test_link(test) for test in entry.tests)
    deviations = [text for test in entry.tests for text in _lookup(test) or ()]
    peers = "<br>".join(map(_cell, filter(None, (entry.peers, *deviations))))
    return f"| {name} | {code} | {tests} | {peers} |"


def _test_link(test: str) -> str:
    path, _, name = test.partition("::")
    return f"[{path}](../tests/{path}) {name.replace('::', ' ').replace('test_', '')}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def main() -> int:
    """Write the page, or with --check only tell; 1 when something is wrong."""
    found = problems()
    if "--check" in sys.argv:
        if not PAGE.exists() or PAGE.read_text() != page():
            found.append("docs/spec.md is old: call tools/spec-table")
    else:
        PAGE.write_text(page())
    sys.stderr.write("".join(f"{line}\n" for line in found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
