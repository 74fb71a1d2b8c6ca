"""Names of tests, and how docstrings begin."""

from __future__ import annotations

import ast

from harness.machine import REPO
from harness.sources import tracked

LEAST = 3  # words after test_
# Their names are the cases in the tables of docs/clients-outcomes.md.
EXEMPT = REPO / "tests" / "clients"

# Say what a function returns, reads, writes or raises.
OLD_VERBS = ("Give", "Tell", "Say", "Let", "Hold")


def test_every_test_is_named_by_a_sentence() -> None:
    short = []
    for path in tracked():
        if not path.name.startswith("test_") or path.suffix != ".py" or EXEMPT in path.parents:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                words = node.name.removeprefix("test_").split("_")
                if len(words) < LEAST:
                    short.append(f"{path.relative_to(REPO)}: {node.name}")
    assert not short, "\n".join(short)


def test_no_docstring_begins_with_a_verb_that_is_not_of_the_field() -> None:
    found = []
    for path in tracked():
        if path.suffix != ".py" or REPO / "ocirun" not in path.parents:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Module):
                first = (ast.get_docstring(node) or "").partition(" ")[0]
                if first in OLD_VERBS:
                    name = getattr(node, "name", "module")
                    found.append(f"{path.relative_to(REPO)}: {name}: {first}")
    assert not found, "\n".join(found)
