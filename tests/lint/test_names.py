"""The name of a test says what behaviour holds: at least a subject and a verb."""

from __future__ import annotations

import ast

from harness.machine import REPO
from harness.sources import tracked

LEAST = 3  # words after test_
# Their names are the cases in the tables of docs/clients.md.
EXEMPT = REPO / "tests" / "clients"


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
