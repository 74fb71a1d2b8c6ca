"""JSON text in and out, without the price of the `json` module.

`ocirun.spec._json` (`_build/json.c`) reads and writes documents that are right. What it refuses is
read again by `json_errors`, with the standard library, which knows where and why. What comes out is
one value made of dict, list, str, int, float, bool and None.

Stricter than Go's reader, each time in favour of a document that has one meaning: a member twice
in one object, text after the document, bytes that are not UTF-8, NUL and half surrogates are
refused, and so are NaN and Infinity, which JSON does not have.

Source: RFC 8259.
"""

from __future__ import annotations

from ocirun.errors import Problem, SpecError
from ocirun.spec import _json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

MAX_BYTES: Final = 64 << 20
MAX_DEPTH: Final = 256

compact = _json.compact  # letters beyond ASCII, surrogates of a path and "/" stay as they are


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
        return _json.parse(data, errors)
    except ValueError:
        from ocirun.spec import json_errors  # cold: the document is very likely broken

        return json_errors.read(data, name, errors)


def printable(text: str) -> str:
    r"""Return `text` with its unprintable letters as escapes: no document drives a terminal."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def quoted(text: str, limit: int = 120) -> str:
    """Return `text` for a message: in double quotes, cut to `limit`, all printable."""
    if len(text) > limit:
        text = text[: limit - 1] + "…"
    return '"' + printable(text.replace("\\", "\\\\").replace('"', '\\"')) + '"'


def escaped(name: str) -> str:
    """Return `name` as one step of a JSON pointer: RFC 6901, and printable."""
    return printable(name.replace("~", "~0").replace("/", "~1"))


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
            pieces += (mark, deeper, compact(name), ": ")
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
