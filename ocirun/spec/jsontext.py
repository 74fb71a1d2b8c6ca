"""JSON text in and out, without the price of the `json` module.

`_json` is the C half of `json` and loads in a fraction of its time. It reads every document; what
it refuses is read again with `json` to say where and why. What comes out is one value made of
dict, list, str, int, float, bool and None.

Stricter than Go's reader, each time in favour of a document that has one meaning: a member twice
in one object, text after the document, bytes that are not UTF-8, NUL and half surrogates are
refused, and so are NaN and Infinity, which JSON does not have.

Source: RFC 8259.
"""

from __future__ import annotations

import _json

from ocirun.errors import Problem, SpecError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final, NoReturn

MAX_BYTES: Final = 64 << 20
MAX_DEPTH: Final = 256
WHITESPACE: Final = " \t\n\r"


class Unwelcome(ValueError):
    """The scanner met JSON that it could read but that we refuse; the message says what."""


def _object(members: list[tuple[str, object]]) -> dict[str, object]:
    result = dict(members)
    if len(result) != len(members):
        seen: set[str] = set()
        for name, _ in members:
            if name in seen:
                raise Unwelcome(f"the member {quoted(name)} appears twice in one object")
            seen.add(name)
    return result


def _constant(word: str) -> NoReturn:
    raise Unwelcome(f"{word} is not a JSON value")


class _Grammar:
    """What `_json.make_scanner` asks about; the names are those of `json.JSONDecoder`."""

    strict = True
    object_hook = None
    object_pairs_hook = _object
    parse_float = float
    parse_int = int
    parse_constant = _constant
    memo: Final[dict[str, str]] = {}


_scan = _json.make_scanner(_Grammar)  # type: ignore[arg-type]  # reads attributes, so a class will do


def parse(data: bytes, name: str, errors: str = "strict") -> object:
    """Return the value written in `data`, the bytes of a document called `name`.

    `errors` is "strict" for what others wrote. Our own records use "surrogateescape", so that a
    path that is not UTF-8 comes back as it was.

    Raises:
        SpecError: it is not one well-formed, unambiguous JSON document; the message has the place.
    """
    if len(data) > MAX_BYTES:
        raise SpecError([Problem("", f"is larger than {MAX_BYTES >> 20} MiB")], name)
    try:
        text = data.decode("utf-8", errors).strip(WHITESPACE)
        document, end = _scan(text, 0)
        _expect_end(text, end)
        if b"\\u0000" in data or b"\\ud" in data or b"\\uD" in data:
            _refuse_unusable_strings(document)
        # One bracket can open at most one level, so that ordinary documents skip the walk.
        if data.count(b"[") + data.count(b"{") > MAX_DEPTH:
            _refuse_deep_nesting(document)
    # SystemError: the scanner takes its own error class from json.decoder if somebody has loaded
    # that module, and otherwise (CPython 3.11 to 3.13) returns nothing and no error at all.
    except (ValueError, StopIteration, RecursionError, SystemError) as error:
        from ocirun.spec import json_errors  # cold: the document is known to be broken

        raise SpecError([Problem("", json_errors.explain(data, error))], name) from error
    return document


def _expect_end(text: str, end: int) -> None:
    if end != len(text):
        raise ValueError("text after the document")


def _refuse_unusable_strings(document: object) -> None:
    """Refuse NUL, which ends a C string early, and half surrogates, which no encoding has.

    Both can only come from an escape: control characters and bad UTF-8 stopped the scanner.
    """
    todo = [document]
    while todo:
        value = todo.pop()
        if type(value) is str:
            if "\0" in value:
                raise Unwelcome(f"the string {quoted(value)} contains a NUL character")
            if not value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in value):
                raise Unwelcome(f"the string {quoted(value)} contains half a surrogate pair")
        elif type(value) is dict:
            todo += value
            todo += value.values()
        elif type(value) is list:
            todo += value


def _refuse_deep_nesting(document: object) -> None:
    level = [document]
    for _ in range(MAX_DEPTH):
        inner: list[object] = []
        for value in level:
            if type(value) is dict:
                inner += value.values()
            elif type(value) is list:
                inner += value
        if not inner:
            return
        level = inner
    raise Unwelcome(f"is nested more than {MAX_DEPTH} levels deep")


def printable(text: str) -> str:
    r"""Return `text` with its unprintable letters as escapes: no document drives a terminal."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def quoted(text: str, limit: int = 120) -> str:
    """Return `text` as people can read it in a sentence: in double quotes, cut, all printable."""
    if len(text) > limit:
        text = text[: limit - 1] + "…"
    return '"' + printable(text.replace("\\", "\\\\").replace('"', '\\"')) + '"'


def escaped(name: str) -> str:
    """Return `name` as one step of a JSON pointer: RFC 6901, and printable."""
    return printable(name.replace("~", "~0").replace("/", "~1"))


def _foreign(value: object) -> NoReturn:
    raise TypeError(f"JSON has nothing for {value!r}")


_compact = _json.make_encoder(
    None,  # no search for cycles: what was parsed has none
    _foreign, _json.encode_basestring, None, ":", ",", False, False, False,
)  # fmt: skip


def compact(value: object) -> str:
    """Return `value` as JSON without spaces; "/" and letters beyond ASCII stay as they are.

    A string that came from a path keeps its surrogates: `os.fsencode` gives the path's own bytes.
    """
    return "".join(_compact(value, 0))


def indented(value: object, indent: str) -> str:
    """Return `value` as JSON in Go's layout: one member a line, each level `indent` deeper."""
    pieces: list[str] = []
    _write(value, "\n", indent, pieces)
    return "".join(pieces)


def _write(value: object, newline: str, indent: str, pieces: list[str]) -> None:
    """Append the text of `value`; `newline` is a line break and the indent of this level."""
    deeper = newline + indent
    if isinstance(value, dict) and value:
        mark = "{"
        for name, member in value.items():
            pieces += (mark, deeper, _json.encode_basestring(name), ": ")
            _write(member, deeper, indent, pieces)
            mark = ","
        pieces += (newline, "}")
    elif isinstance(value, list | tuple) and value:
        mark = "["
        for item in value:
            pieces += (mark, deeper)
            _write(item, deeper, indent, pieces)
            mark = ","
        pieces += (newline, "]")
    else:
        pieces.append(compact(value))
