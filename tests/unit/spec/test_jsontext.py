"""JSON in and out: RFC 8259, and the sentences for what is not it."""
# ruff: noqa: ANN401  # documents are JSON

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import ocirun
from ocirun.errors import SpecError
from ocirun.spec import _json
from ocirun.spec.jsontext import MAX_BYTES, MAX_DEPTH, compact, escaped, indented, parse, quoted

BROKEN = [
    (b"", "is empty"),
    (b" \n", "is empty"),
    (b"{]", 'line 1, column 2: expected a name in double quotes, found "]"'),
    (b'{"a":\n tru}', 'line 2, column 2: expected a value, found "t"'),
    (b'{"a" 1}', 'line 1, column 6: expected ":", found "1"'),
    (b"[1 2]", 'line 1, column 4: expected "," or the closing bracket, found "2"'),
    (b'{"a": 1', "expected"),
    (b'"abc', "line 1, column 1: the string that begins here has no end"),
    (b'"a\nb"', "line 1, column 3: expected no control character inside a string"),
    (b'"a\x00b"', "line 1, column 3: expected no control character inside a string"),
    (rb'"\x"', "expected an escape that JSON knows"),
    (b"{} x", 'line 1, column 4: expected the end of the document, found "x"'),
    (b"{}\n{}", "line 2, column 1: expected the end of the document"),
    (b'{"a":1,"b":{"a":1,"a":2}}', 'the member "a" appears twice in one object'),
    (b"[NaN]", "NaN is not a JSON value"),
    (b"-Infinity", "-Infinity is not a JSON value"),
    (rb'{"a":"x\u0000y"}', r'the string "x\x00y" contains a NUL character'),
    (rb'{"a\u0000":1}', "contains a NUL character"),
    (rb'["\ud800"]', r'the string "\ud800" contains half a surrogate pair'),
    (rb'["\uDC00x"]', "contains half a surrogate pair"),
    (b'{"a":"\xff"}', "line 1: is not UTF-8: byte 0xff"),
    (b'{"a":\n"\xed\xa0\x80"}', "line 2: is not UTF-8: byte 0xed"),
    (b"\xef\xbb\xbf{}", "begins with a byte order mark of UTF-8; it must be UTF-8 without one"),
    ('{"a":1}'.encode("utf-16"), "begins with a byte order mark of UTF-16"),
    ('{"a":1}'.encode("utf-16-le"), "is not UTF-8: it looks like UTF-16 or UTF-32"),
    ('{"a":1}'.encode("utf-32-be"), "is not UTF-8: it looks like UTF-16 or UTF-32"),
    (b"1" * 5000, "has a number with too many digits"),
    (b"[" * 100_000, f"is nested more than {MAX_DEPTH} levels deep"),
    (b'{"a":' * 100_000, f"is nested more than {MAX_DEPTH} levels deep"),
    (b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1), "nested more than"),
    (b" " * (MAX_BYTES + 1), "is larger than 64 MiB"),
]


@pytest.mark.parametrize(("data", "words"), BROKEN, ids=range(len(BROKEN)))
def test_broken_document_gets_one_sentence(data: bytes, words: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse(data, "config.json")
    assert words in str(caught.value)
    assert str(caught.value).startswith("config.json: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    ["{}", " [1, -2, 3.5, 1e3] \n", '"é😀"', r'"\ud83d\ude00\u00e9\/"', "null", '{"a":{"b":[]}}'],
)
def test_what_json_reads_is_read_the_same(text: str) -> None:
    assert parse(text.encode(), "x") == json.loads(text)


def test_whole_numbers_never_become_floats() -> None:
    numbers = [0, -1, 2**63, 2**64 - 1, 10**300]
    parsed: Any = parse(json.dumps(numbers).encode(), "x")
    assert parsed == numbers
    assert {type(number) for number in parsed} == {int}


def test_nesting_up_to_the_limit_is_read() -> None:
    depth = MAX_DEPTH - 1
    assert parse(b"[" * depth + b"]" * depth, "x")


def test_ten_megabytes_are_read_in_time() -> None:
    entry = '{"names": ["a", "b"], "value": 18446744073709551615}'
    data = ("[" + ",".join([entry] * 200_000) + "]").encode()
    assert len(data) > 10 << 20
    began = time.perf_counter()
    assert len(parse(data, "x")) == 200_000  # type: ignore[arg-type]  # a list
    assert time.perf_counter() - began < 10


def test_our_own_documents_keep_paths_that_are_not_utf8() -> None:
    path = os.fsdecode(b"/bundle/\xff\xfe")
    written = os.fsencode(compact({"bundle": path}))
    assert parse(written, "x", "surrogateescape") == {"bundle": path}
    with pytest.raises(SpecError):
        parse(written, "x")


def test_compact_has_no_spaces_and_escapes_no_slash() -> None:
    value = {"a": [1, "/é<", None, True], "b": {}, "c": []}
    assert compact(value) == '{"a":[1,"/é<",null,true],"b":{},"c":[]}'
    assert json.loads(compact(value)) == value


def test_compact_refuses_what_json_has_not() -> None:
    with pytest.raises(TypeError):
        compact({"a": {1, 2}})
    with pytest.raises(ValueError, match="no infinity and no NaN"):
        compact(float("nan"))


@pytest.mark.parametrize("indent", ["  ", "    ", "\t"])
def test_indented_is_gos_layout(indent: str, everything: Any) -> None:
    assert indented({"a": [], "b": {}}, "\t") == '{\n\t"a": [],\n\t"b": {}\n}'
    assert indented(everything, indent) == json.dumps(everything, indent=indent)
    assert indented("x", indent) == '"x"'


def test_quoted_is_printable_and_cut() -> None:
    assert quoted('a"b\\c\n\x1b[31m') == r'"a\"b\\c\n\x1b[31m"'
    assert len(quoted("x" * 1000)) < 130
    assert quoted(os.fsdecode(b"\xff")) == r'"\udcff"'


def test_pointer_steps_are_escaped() -> None:
    assert escaped("a/b~c") == "a~1b~0c"


def test_the_fast_reader_needs_nothing_of_the_library() -> None:
    import subprocess

    code = "import sys; sys.path.append(sys.argv[1])\n"
    code += "before = set(sys.modules); import ocirun.spec.jsontext as j;"
    code += "j.parse(b'{}', 'x'); print(*sorted(set(sys.modules) - before))"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code, str(Path(ocirun.__file__).parent.parent)],
        capture_output=True,
        text=True,
        check=True,
    )
    added = {name for name in done.stdout.split() if not name.startswith("ocirun")}
    assert added <= {"__future__"}, done.stderr


@pytest.mark.parametrize("text", ['{"a":1,}', '{"a":1', '"\\q"', "nul", "[1,,2]", '{"a" 1}'])
def test_a_broken_document_is_a_sentence_without_the_json_module(text: str) -> None:
    """The isolated interpreter has no json.decoder loaded, where `_json` looks for its error."""
    code = (
        "import sys; sys.path.append(sys.argv[1])\n"
        "from ocirun.errors import SpecError\n"
        "from ocirun.spec.jsontext import parse\n"
        "try: parse(sys.argv[2].encode(), 'config.json')\n"
        "except SpecError as error: print(error)\n"
    )
    root = str(Path(ocirun.__file__).parent.parent)
    result = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code, root, text],
        capture_output=True,
        check=True,
        text=True,
    )
    assert result.stdout.startswith("config.json: line 1, column ")


@pytest.mark.parametrize(
    "text",
    [
        '"\\u00e9\\ud83d\\ude00\\n\\"\\\\\\/"', "1e5", "-0", "-0.0", "1E+2", "[ ]", "{ }",
        "123456789012345678",
        "1234567890123456789012", "-9223372036854775808", '{"a" : [true, false , null]}',
        '"' + "x" * 5000 + '\\t"',
    ],
)  # fmt: skip
def test_the_fast_reader_reads_and_writes_as_json_does(text: str) -> None:
    value = _json.parse(text.encode(), "strict")
    assert repr(value) == repr(json.loads(text))
    assert _json.compact(value) == json.dumps(value, ensure_ascii=False, separators=(",", ":"))


@pytest.mark.parametrize(
    "text",
    [
        "", "{", '{"a":1,}', "[1,]", "01", "1.", ".5", "+1", "-", "1e", "tru", "nul",
        '"\\', '"\\u12"',
        '"\\ud800"', '"\\udc00\\ud800"', '"\\u0000"', '"a\nb"', "[1 2]", '{"a" 1}', "{} {}", "NaN",
        "Infinity", '{"a":1,"a":2}', "'a'", "\ufeff{}", "[" * 300 + "]" * 300,
    ],
)  # fmt: skip
def test_the_fast_reader_refuses_without_a_reason(text: str) -> None:
    with pytest.raises(ValueError, match=r"^not one JSON document$"):
        _json.parse(text.encode(), "strict")


def test_the_fast_reader_never_reads_past_the_end() -> None:
    whole = b'{"a":[1.5e3,true,null,"\\u00e9\\ud83d\\ude00"],"b":false}'
    for length in range(len(whole)):
        with pytest.raises(ValueError):  # noqa: PT011  # one sentence, or Python's on UTF-8
            _json.parse(whole[:length], "strict")
