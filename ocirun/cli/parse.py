"""argv to options, for calls that are well-formed; anything else is typer's to explain.

The conventions are those of Go's flag package, as runc's callers use them: one dash or two for
every name, `--flag value` and `--flag=value`, booleans with `=true` or `=false`, global options
before the verb, the verb's own before the container's id.

Source: golang.org/pkg/flag, "Command line flag syntax"; go-runc runc.go.
"""

from __future__ import annotations

from ocirun.cli.call import Call
from ocirun.cli.options import BOOL, INT, INTS, REPEAT
from ocirun.cli.verbs import GLOBALS, VERBS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Final

    from ocirun.cli.options import Option, Verb

MOST_DIGITS: Final = 19  # what has more is no number of 64 bits
TRUTHS: Final = {  # strconv.ParseBool
    "1": True, "t": True, "T": True, "true": True, "TRUE": True, "True": True,
    "0": False, "f": False, "F": False, "false": False, "FALSE": False, "False": False,
}  # fmt: skip


def parse(argv: Sequence[str]) -> Call | None:
    """Read `argv` (without the program's name); None: not well-formed, ask typer."""
    settings: dict[str, object] = {}
    at = read_options(argv, 0, GLOBALS, settings)
    if at < 0:
        return None
    if settings["version"]:
        return Call(settings, "version", {}, [])
    verb = VERBS.get(argv[at]) if at < len(argv) else None
    if verb is None:
        return None
    options: dict[str, object] = {}
    at = read_options(argv, at + 1, verb.options, options)
    rest = list(argv[at:]) if at >= 0 else []
    if at < 0 or is_wrong_count(verb, len(rest)) or (not verb.rest and _has_dashed(rest)):
        return None
    return Call(settings, verb.name, options, rest)


def is_wrong_count(verb: Verb, count: int) -> bool:
    """Return whether `verb` cannot be given `count` arguments."""
    return count < verb.least or (0 <= verb.most < count)


def _has_dashed(rest: Sequence[str]) -> bool:
    """Return whether an option or "--" follows the id: allowed, and rare enough for typer."""
    return any(word[:1] == "-" and word != "-" for word in rest)


def read_options(
    argv: Sequence[str], at: int, options: Sequence[Option], values: dict[str, object]
) -> int:
    """Read the options that begin at `argv[at]` into `values`, defaults first.

    Returns the index of the first positional word, or -1 when something is not well-formed;
    `values` then holds what was read so far.
    """
    known: dict[str, Option] = {}
    for option in options:
        values[option.name] = option.default
        for name in option.names:
            known[name] = option
    end = len(argv)
    while at < end:
        word = argv[at]
        if word[:1] != "-" or word == "-":
            return at
        at += 1
        if word == "--":
            return at
        name, equals, text = word[2 if word[1] == "-" else 1 :].partition("=")
        found = known.get(name)
        if found is None:
            return -1
        if not equals:
            if found.kind == BOOL:
                values[found.name] = True
                continue
            if at == end:
                return -1
            text = argv[at]
            at += 1
        if not _take(found, text, values):
            return -1
    return at


def _take(option: Option, text: str, values: dict[str, object]) -> bool:
    """Store the value `text` of `option`; False when it is not one for sure."""
    if option.kind == BOOL:
        if text not in TRUTHS:
            return False
        values[option.name] = TRUTHS[text]
    elif option.kind in (INT, INTS):
        digits = text[1:] if text[:1] == "-" else text
        # Leading zeros mean octal to Go, underscores separate: typer's path knows.
        if not (digits.isascii() and digits.isdigit()) or (digits[0] == "0" and digits != "0"):
            return False
        if len(digits) > MOST_DIGITS:
            return False
        values[option.name] = int(text) if option.kind == INT else _more(option, int(text), values)
    elif option.kind == REPEAT:
        values[option.name] = _more(option, text, values)
    else:
        values[option.name] = text
    return True


def _more(option: Option, value: object, values: dict[str, object]) -> tuple[object, ...]:
    """Return the values of a repeatable option, with one more."""
    before = values[option.name]
    return (*before, value) if isinstance(before, tuple) else (value,)
