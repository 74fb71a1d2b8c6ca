"""The generated checks and jsonschema give one verdict, and every refusal has its sentences."""
# ruff: noqa: ANN401  # documents are JSON

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocirun.spec import checks
from ocirun.spec.rules import check_rules
from ocirun.spec.schema import report, validator

KINDS = {
    "config": checks.check_config,
    "process": checks.check_process,
    "resources": checks.check_resources,
    "network": checks.check_network,
}


@given(st.data())
def test_over_spoiled_configs(configs: Any, data: st.DataObject) -> None:
    document = data.draw(configs)
    agree("config", document)
    if isinstance(document, dict):
        agree("process", document.get("process"))
        linux = document.get("linux")
        agree("resources", linux.get("resources") if isinstance(linux, dict) else linux)


def test_at_every_place_of_a_full_document(parts: Any, places: Any, edges: Any) -> None:
    """Put every telling value at every place in turn, and leave every member out once."""
    conforms = validator("config").is_valid
    tried = 0
    for part in parts:
        for holder, key in list(places(part)):
            kept = holder[key]
            for value in edges(kept):
                holder[key] = value
                assert checks.check_config(part) == conforms(part), (key, value)
                tried += 1
            if isinstance(holder, dict):
                del holder[key]
                assert checks.check_config(part) == conforms(part), key
            holder[key] = kept
    assert tried > 5000


@pytest.mark.parametrize("kind", KINDS)
@given(st.data())
def test_over_any_value(json_values: Any, kind: str, data: st.DataObject) -> None:
    agree(kind, data.draw(json_values))


def agree(kind: str, document: Any) -> None:
    conforms = KINDS[kind](document)
    problems = report(document, kind)
    assert conforms == validator(kind).is_valid(document) == (problems == [])
    for problem in problems:
        assert re.fullmatch("(/[^/]*)*", problem.pointer)
        assert str(problem).isprintable()
        assert not problem.message[0].isupper() or problem.message.startswith("Cwd ")
    if conforms and kind == "config":
        # The rules trust the shape and nothing else.
        for problem in check_rules(document):
            assert problem.message


@given(
    st.sampled_from(["^[1-9][0-9]*[KMG]B$", r"^MB:[^\n]*$", "^[0-9, -]*$", "^[rwm]*$"]), st.data()
)
def test_patterns_are_res(pattern: str, data: st.DataObject) -> None:
    """`_text` and `re` agree on texts made of the patterns' letters."""
    node = {
        "^[1-9][0-9]*[KMG]B$": checks.PAGE_SIZE,
        r"^MB:[^\n]*$": checks.MEM_BW_SCHEMA,
        "^[0-9, -]*$": checks.INITIAL,
        "^[rwm]*$": checks.ACCESS,
    }[pattern]
    text = data.draw(st.text(alphabet="0129KMGB:=rwm, -\n;x", max_size=6))
    text = data.draw(st.sampled_from(["", "MB:", "2M"])) + text
    assert checks._text(text, node) == bool(re.fullmatch(pattern.strip("^$"), text))
