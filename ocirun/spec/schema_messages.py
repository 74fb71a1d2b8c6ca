"""The message for each broken keyword of a schema, and the right value if it is certain.

Each function takes the schema node that was broken, the value found, and a detail; it returns the
message and the remedy. A node's `title` is the noun people know its values by, its first example
what one looks like, `x-absent` runc's words for a member that must be there, and `x-invalid` its
words for a value that is not allowed.
"""

from __future__ import annotations

from ocirun.spec.jsontext import compact, quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Final

    Sentence = tuple[str, str]
    Schema = dict[str, Any]

KIND_NAMES: Final = {
    "object": "an object",
    "array": "a list",
    "string": "a string",
    "integer": "a whole number",
    "boolean": "true or false",
}
DIGITS_SHOWN: Final = 40
WORDS_SHOWN: Final = 9


def shown(value: object) -> str:
    """Return `value` for a message: itself if it is short, else its type."""
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, dict | list):
        return KIND_NAMES["object" if isinstance(value, dict) else "array"]
    text = str(value) if isinstance(value, float) else compact(value)
    return text if len(text) <= DIGITS_SHOWN else f"a number of {len(text)} digits"


def noun(schema: Schema) -> str:
    """Return what the values of `schema` are called, with its article."""
    title: str = schema.get("title", "allowed value")
    return f"{'an' if title[0] in 'aeiouAEIOU' else 'a'} {title}"


def of_type(schema: Schema, found: object, _: str) -> Sentence:
    """Return the message about a value of the wrong type."""
    return f"must be {KIND_NAMES[schema['type']]}, not {shown(found)}", ""


def _near(found: str, words: list[str]) -> list[str]:
    """Return the one of `words` that was surely meant, or none.

    What all of them begin with does not count: RLIMIT_XYZ is not near RLIMIT_AS.
    """
    from difflib import get_close_matches  # cold: only for a word that is wrong
    from os.path import commonprefix

    start = commonprefix(words)  # noqa: RUF071  # of characters, as meant
    start = start[: start.rfind("_") + 1]
    skipped = len(start) if found.startswith(start) else 0
    rests = {word[skipped:]: word for word in words}
    return [rests[rest] for rest in get_close_matches(found[skipped:], rests, n=1, cutoff=0.7)]


def of_enum(schema: Schema, found: object, _: str) -> Sentence:
    """Return the message about a word that is not allowed, with the nearest one that is."""
    if not isinstance(found, str):
        return f"must be {noun(schema)}, not {shown(found)}", ""
    lead = f"{schema['x-invalid']}: " if "x-invalid" in schema else ""
    message = f"{lead}{quoted(found)} is not {noun(schema)}"
    by_fold: dict[str, str] = {word.casefold(): word for word in schema["enum"] if word}
    close = [fold for fold in by_fold if fold.endswith(f"_{found.casefold()}")]
    close = close or _near(found.casefold(), list(by_fold))
    if len(close) == 1:
        return message, f"did you mean {quoted(by_fold[close[0]])}?"
    choices = [quoted(word) for word in schema["enum"] if word]
    return message, f"one of {', '.join(choices)}" if len(choices) <= WORDS_SHOWN else ""


def of_required(schema: Schema, _: object, member: str) -> Sentence:
    """Return the message about the missing `member`."""
    node = schema.get("properties", {}).get(member, {})
    return node.get("x-absent", "is missing"), ""


def of_properties(_: Schema, __: object, known: str) -> Sentence:
    """Return the message about a member whose name is spelled in another case."""
    return "is in the wrong case", f"write {quoted(known)}"


def of_pattern(schema: Schema, found: object, _: str) -> Sentence:
    """Return the message about a text of the wrong form, with an example of the right one."""
    examples = schema.get("examples")
    remedy = f"for example {quoted(examples[0])}" if examples else ""
    return f"{shown(found)} is not {noun(schema)}", remedy


def of_range(schema: Schema, found: object, _: str) -> Sentence:
    """Return the message about a number outside its range."""
    return f"must be from {schema['minimum']} to {schema['maximum']}, not {shown(found)}", ""


def of_min_items(schema: Schema, _: object, __: str) -> Sentence:
    """Return the message about a list of the wrong length."""
    least = schema["minItems"]
    return f"must have at least {least} {'item' if least == 1 else 'items'}", ""


SENTENCES: Final[dict[str, Callable[[Schema, object, str], Sentence]]] = {
    "properties": of_properties,
    "type": of_type,
    "enum": of_enum,
    "required": of_required,
    "pattern": of_pattern,
    "minimum": of_range,
    "maximum": of_range,
    "minItems": of_min_items,
}
