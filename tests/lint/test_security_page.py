"""SECURITY.md names the test that holds each invariant: they are there."""

from __future__ import annotations

import re
from pathlib import Path

REPO = Path(__file__).parents[2]
PAGE = (REPO / "SECURITY.md").read_text()
REFERENCE = re.compile(r"\((tests/[\w/]+\.py)\)(?: `(test_\w+)`)?")


def test_every_test_it_names_is_there() -> None:
    references = REFERENCE.findall(PAGE)
    assert len(references) > 20
    missing = [
        f"{path}::{name}"
        for path, name in references
        if not (REPO / path).is_file()
        or (name and not re.search(rf"^\s*def {name}\(", (REPO / path).read_text(), re.MULTILINE))
    ]
    assert missing == []


def test_every_annotation_that_features_calls_unsafe_is_named() -> None:
    from ocirun.spec.features import UNSAFE_ANNOTATIONS

    assert [name for name in UNSAFE_ANNOTATIONS if f"`{name}" not in PAGE] == []
