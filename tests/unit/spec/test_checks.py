"""The generated checks: fresh, and equal to jsonschema on what is written down here.

tests/fuzz holds the two equal over mutated documents.
"""
# ruff: noqa: ANN401  # documents are JSON

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from ocirun.spec import checks
from ocirun.spec.schema import report

REPOSITORY = Path(__file__).parents[3]


def load_builder() -> Any:
    """Return the generator, which is in the source tree and never installed."""
    spec = importlib.util.spec_from_file_location(
        "checks_builder", REPOSITORY / "ocirun" / "_build" / "checks.py"
    )
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


builder = load_builder()


def test_the_committed_checks_are_fresh() -> None:
    written = (REPOSITORY / "ocirun" / "spec" / "checks.py").read_text(encoding="utf-8")
    assert written == builder.generate(), "run `python -m ocirun._build.checks`"


def test_real_documents_pass(document_path: Path) -> None:
    document = json.loads(document_path.read_bytes())
    assert report(document) == []
    assert checks.check_config(document)
    assert checks.check_process(document["process"])
    assert checks.check_resources(document["linux"].get("resources", {}))


def test_every_property_is_checked(everything: Any) -> None:
    for name in ("solaris", "vm", "windows", "zos"):  # of which only the outline is checked
        everything[name] = {}
    for holder, key in list(places(everything)):
        kept, holder[key] = holder[key], None
        assert not checks.check_config(everything), key
        holder[key] = kept


def test_every_required_member_is_required(everything: Any) -> None:
    refused = set()
    for holder, key in list(places(everything)):
        if isinstance(holder, dict):
            kept = holder.pop(key)
            if not checks.check_config(everything):
                refused.add(key)
            holder[key] = kept
    assert refused == {
        "ociVersion", "path", "cwd", "height", "width", "type", "soft", "hard", "policy", "class",
        "destination", "containerID", "hostID", "size", "allow", "limit", "major", "minor",
        "pageSize", "name", "priority", "defaultAction", "names", "action", "index", "value", "op",
        "mode", "domain",
    }  # fmt: skip


def test_unknown_members_are_ignored_everywhere(everything: Any) -> None:
    maps = ("annotations", "sysctl", "unified", "rdma", "netDevices", "timeOffsets")
    for holder, key in [(None, None), *places(everything)]:
        value = everything if holder is None else holder[key]
        if isinstance(value, dict) and key not in maps:
            value["x-unknown"] = {"anything": [1]}
    assert checks.check_config(everything)
    assert report(everything) == []


@pytest.mark.parametrize(
    ("pattern", "good", "bad"),
    [
        ("^[1-9][0-9]*[KMG]B$", ["2MB", "1024KB"], ["0MB", "2mB", "MB", "2MB\n", "2MBx", ""]),
        (r"^MB:[^\n]*$", ["MB:", "MB:0=1"], ["MB", "xMB:", "MB:\n"]),
        ("^[0-9, -]*$", ["", "0-3, 7"], ["a", "1\n"]),
    ],
)
def test_patterns_become_steps(pattern: str, good: list[str], bad: list[str]) -> None:
    node = (checks._text, builder._steps(pattern))
    assert all(checks._text(text, node) for text in good)
    assert not any(checks._text(text, node) for text in bad)


@pytest.mark.parametrize(
    "pattern", ["abc", "^a|b$", "^[a-z]*[a-c]$", "^(a)$", "^a+$", r"^\d$", "^.$", "^[^a]*b$"]
)
def test_a_pattern_beyond_the_generator_stops_it(pattern: str) -> None:
    with pytest.raises(builder.UnknownKeyword):
        builder._steps(pattern)


@pytest.mark.parametrize(
    "node",
    [
        {"type": "number"},
        {"type": "integer"},
        {"type": "integer", "minimum": 0},
        {"type": "string", "minLength": 1},
        {"type": "array"},
        {"type": "object", "additionalProperties": {"type": "string"}, "properties": {}},
        {"oneOf": []},
        {"enum": ["a"], "type": "string"},
    ],
)
def test_a_keyword_beyond_the_generator_stops_it(node: dict[str, Any]) -> None:
    generator = builder.Generator()
    with pytest.raises(builder.UnknownKeyword):
        generator.name(generator.whole(node, "types.json"), "x")


def places(value: Any) -> Any:
    """Yield every (container, key) of a document."""
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from places(value[key])
