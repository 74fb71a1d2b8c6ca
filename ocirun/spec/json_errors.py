"""Read a document that the fast reader refused, and say what is wrong with it.

Cold: loads `json`, whose errors know the place.
"""

from __future__ import annotations

import json  # noqa: TID253  # cold: nobody imports this module for a document that is right

from ocirun.errors import Problem, SpecError
from ocirun.spec.jsontext import MAX_DEPTH, quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final, NoReturn

BYTE_ORDER_MARKS: Final = (
    (b"\xef\xbb\xbf", "UTF-8"),
    (b"\xff\xfe", "UTF-16"),
    (b"\xfe\xff", "UTF-16"),
)


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


def read(data: bytes, name: str, errors: str) -> object:
    """Return the value in `data`, or raise an error that says what is wrong with it.

    Raises:
        SpecError: as `jsontext.parse`.
    """
    try:
        text = data.decode("utf-8", errors)
        document = json.loads(text, object_pairs_hook=_object, parse_constant=_constant)
        # NUL comes from an escape alone; a half surrogate too, but for the bytes of a path.
        if b"\\u0000" in data or b"\\ud" in data or b"\\uD" in data:
            _refuse_unusable_strings(document)
        _refuse_deep_nesting(document)
    except (ValueError, RecursionError) as error:
        raise SpecError([Problem("", explain(data, error))], name) from error
    return document


def explain(data: bytes, error: Exception) -> str:
    """Return the message for `error`, which reading `data` raised: "line 3, column 7: …"."""
    if encoding := _foreign_encoding(data):
        return encoding
    if isinstance(error, UnicodeDecodeError):
        line = data.count(b"\n", 0, error.start) + 1
        return f"line {line}: is not UTF-8: byte 0x{data[error.start]:02x}"
    if isinstance(error, Unwelcome):
        return str(error)
    if not data.strip():
        return "is empty"
    return _syntax(data.decode("utf-8", "surrogateescape"), error)


def _foreign_encoding(data: bytes) -> str:
    for mark, encoding in BYTE_ORDER_MARKS:
        if data.startswith(mark):
            return f"begins with a byte order mark of {encoding}; it must be UTF-8 without one"
    if b"\0" in data[:2]:  # JSON begins with a character of one byte
        return "is not UTF-8: it looks like UTF-16 or UTF-32"
    return ""


def _syntax(text: str, error: Exception) -> str:
    try:
        json.loads(text)
    except json.JSONDecodeError as place:
        return f"line {place.lineno}, column {place.colno}: {_words(place, text)}"
    except ValueError:
        return "has a number with too many digits"
    except RecursionError:
        return f"is nested more than {MAX_DEPTH} levels deep"
    # `json` takes what we do not only where one of its hooks above refused, which is Unwelcome's.
    return f"is not JSON: {error}"


# What `json` says (3.11 to 3.14), and what we make of it.
WORDS: Final = {
    "Expecting value": "expected a value",
    "Expecting property name enclosed in double quotes": "expected a name in double quotes",
    "Illegal trailing comma before end of object": "expected no comma after the last member",
    "Illegal trailing comma before end of array": "expected no comma after the last item",
    "Expecting ':' delimiter": 'expected ":"',
    "Expecting ',' delimiter": 'expected "," or the closing bracket',
    "Unterminated string starting at": "the string that begins here has no end",
    "Invalid control character at": "expected no control character inside a string",
    "Invalid \\escape": "expected an escape that JSON knows",
    "Invalid \\uXXXX escape": "expected four hexadecimal digits after \\u",
    "Extra data": "expected the end of the document",
}


def _words(place: json.JSONDecodeError, text: str) -> str:
    words = WORDS.get(place.msg, place.msg[:1].lower() + place.msg[1:])
    if not words.startswith("expected"):
        return words
    found = text[place.pos : place.pos + 1]
    return f"{words}, found {quoted(found)}" if found else f"{words}, but the document ends here"


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
