"""Whatever the bytes, reading ends in a value or in one sentence."""
# ruff: noqa: ANN401  # documents are JSON

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st

from ocirun.errors import SpecError
from ocirun.spec.jsontext import compact, indented, parse
from ocirun.spec.load import load_config
from ocirun.spec.validate import examine_bundle

if TYPE_CHECKING:
    import pytest

JSON_PIECES = [
    b"{", b"}", b"[", b"]", b":", b",", b'"', b"\\", b"u", b"d800", b"0000", b"dc00", b"null",
    b"true", b"NaN", b"Infinity", b"-", b"1", b".", b"e9", b"\n", b" ", b"\xff", b"\xc3", b"\xa9",
    b"\x00", b"\xef\xbb\xbf", b'"a":', b'"a":1,', b"[[[[", b"9" * 4400,
]  # fmt: skip


def read(data: bytes) -> Any:
    """Parse `data`; any failure must be a SpecError of one printable line."""
    try:
        return parse(data, "config.json")
    except SpecError as error:
        sentence = str(error)
        assert sentence.startswith("config.json: ")
        assert sentence.isprintable(), sentence
        assert len(sentence) < 300
        return error


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_read_or_refused(data: bytes) -> None:
    read(data)


@given(st.lists(st.sampled_from(JSON_PIECES), max_size=30).map(b"".join))
def test_bytes_that_look_like_json(data: bytes) -> None:
    agree_with_json(data)


@given(st.data())
def test_damaged_documents_are_read_as_json_reads_them(
    config_texts: list[bytes], data: st.DataObject
) -> None:
    text = bytearray(data.draw(st.sampled_from(config_texts)))
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(text)))
        end = start + data.draw(st.integers(0, 5))
        text[start:end] = data.draw(st.sampled_from(JSON_PIECES) | st.binary(max_size=3))
    agree_with_json(bytes(text))


def agree_with_json(data: bytes) -> None:
    """What we read, json reads the same; what json refuses, we refuse."""
    ours = read(data)
    try:
        theirs = json.loads(data.decode())
    except (ValueError, RecursionError):
        assert isinstance(ours, SpecError), data
    else:
        # NaN is equal to nothing, and is one of the things we refuse and json does not.
        assert isinstance(ours, SpecError) or ours == theirs


@given(st.data())
def test_written_values_are_read_back(json_values: Any, data: st.DataObject) -> None:
    value = data.draw(json_values)
    text = compact(value)
    assert json.loads(text) == value
    assert json.loads(indented(value, "\t")) == value
    assert indented(value, "  ") == json.dumps(value, indent=2, ensure_ascii=False)
    if b"\\u0000" not in text.encode():
        assert parse(text.encode(), "x") == value


@given(st.binary(max_size=50).filter(lambda name: b"\0" not in name))
def test_paths_survive_our_own_records(name: bytes) -> None:
    path = os.fsdecode(name)
    assert parse(os.fsencode(compact([path])), "x", "surrogateescape") == [path]


@given(st.data())
def test_any_config_loads_or_gets_sentences(
    configs: Any, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """The whole way, as create and validate go it: no other exception, no empty refusal."""
    bundle = tmp_path_factory.getbasetemp()
    (bundle / "config.json").write_text(json.dumps(data.draw(configs)))
    refusal = None
    try:
        load_config(str(bundle), need_process=False)
    except SpecError as error:
        refusal = error
    verdict = examine_bundle(str(bundle))
    # validate keeps to the schema, and so reports what only runc's reader takes (spec/lenient.py).
    assert verdict.problems or not refusal
    assert all(str(one).isprintable() for one in verdict.problems + verdict.warnings)
