"""Say what is wrong with a document that the fast reader refused.

Cold: loads `json`, whose errors know the place, and may read the document once more.
"""

from __future__ import annotations

import json  # noqa: TID253  # cold: nobody imports this module for a document that is right

from ocirun.spec.jsontext import MAX_DEPTH, Unwelcome, quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

BYTE_ORDER_MARKS: Final = (
    (b"\xef\xbb\xbf", "UTF-8"),
    (b"\xff\xfe", "UTF-16"),
    (b"\xfe\xff", "UTF-16"),
)


def explain(data: bytes, error: Exception) -> str:
    """Return the sentence for `error`, which reading `data` raised: "line 3, column 7: …"."""
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
    # `json` takes what we do not only when `_json` and `json` disagree, which no test found.
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
