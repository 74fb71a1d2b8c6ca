"""What the tests of spec/ share: real documents, and a config to change one thing in."""
# ruff: noqa: ANN401  # documents are JSON

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from harness.sources import find_reference

DOCUMENTS = Path(__file__).parent / "documents"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that wants `document_path` once for each document."""
    if "document_path" in metafunc.fixturenames:
        paths = sorted(DOCUMENTS.glob("*.json"))
        metafunc.parametrize("document_path", paths, ids=[path.stem for path in paths])


@pytest.fixture
def everything() -> Any:
    """A document with every property of the specification."""
    return json.loads((DOCUMENTS / "everything.json").read_bytes())


@pytest.fixture
def config() -> Any:
    """A small config that breaks no rule, fresh for each test."""
    return copy.deepcopy(
        {
            "ociVersion": "1.3.0",
            "process": {"args": ["true"], "cwd": "/", "env": ["PATH=/bin"]},
            "root": {"path": "rootfs"},
            "linux": {"namespaces": [{"type": "pid"}, {"type": "mount"}]},
        }
    )


@pytest.fixture
def reference() -> Path:
    """The schemas and example documents of runtime-spec, if they have been fetched."""
    return find_reference()
