"""Help as text, from the table of verbs and the pages of `manual`; typer prints the same.

Source: docs/runc-compat/cli.md#parsing.
"""

from __future__ import annotations

import os

from ocirun.cli.manual import PAGES, SUMMARY
from ocirun.cli.options import STR
from ocirun.cli.verbs import GLOBALS, VERBS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Final

    from ocirun.cli.options import Option

MOST: Final = 80  # columns: longer lines are harder to read
LEAST: Final = 50
FIRST: Final = 30  # a longer first column pushes its text to the next line
HELP_SUMMARY: Final = "show the verbs, or how one is used"


def overview() -> str:
    """Return the help of `ocirun` itself: global options and verbs."""
    shown = [(verb.name, verb.summary) for verb in VERBS.values() if not verb.hidden]
    return _join(
        _usage("ocirun [OPTIONS] VERB [ARG...]"),
        _paragraph(SUMMARY),
        _section("Options", [*map(row, visible(GLOBALS)), HELP_ROW]),
        _section("Verbs", [*shown, ("help", HELP_SUMMARY)]),
        _paragraph("`ocirun help VERB` shows the help of a verb."),
    )


def of_verb(name: str) -> str:
    """Return the help of the verb `name`, or of `help`."""
    verb = VERBS.get(name)
    positional = verb.positional if verb else "[VERB]"
    summary = verb.summary if verb else HELP_SUMMARY
    options = visible(verb.options) if verb else []
    page = PAGES.get(name)
    parts = [
        _usage(f"ocirun {name} [OPTIONS] {positional}".rstrip()),
        _paragraph(f"{summary[:1].upper()}{summary[1:]}."),
    ]
    if page is not None:
        parts += [_paragraph(text) for text in page.description]
    parts.append(_section("Options", [*map(row, options), HELP_ROW]))
    if page is not None:
        parts.append(_section("Examples", page.examples))
        parts.append(_section("Exit status", page.statuses))
    return _join(*parts)


def visible(options: Iterable[Option]) -> list[Option]:
    """Return the options that help shows."""
    return [option for option in options if not option.hidden]


def row(option: Option) -> tuple[str, str]:
    """Return the spellings of an option, short ones first, and its help with the default."""
    names = [f"-{name}" for name in option.names if len(name) == 1]
    names += [f"--{name}" for name in option.names if len(name) > 1]
    left = ", ".join(names)
    if option.metavar:
        left += f" {option.metavar}"
    if option.kind == STR and option.default:
        return left, f"{option.help} [default: {option.default}]"
    return left, option.help


HELP_ROW: Final = ("-h, --help", "show this help")


def width() -> int:
    """Return the columns that help may take: those of the terminal, within limits."""
    try:
        columns = int(os.environ.get("COLUMNS", "")) or MOST
    except ValueError:
        try:
            columns = os.get_terminal_size(1).columns or MOST
        except OSError:  # stdout is no terminal
            columns = MOST
    return max(LEAST, min(columns, MOST) - 2)


def wrap(text: str, columns: int) -> list[str]:
    """Break `text` at its spaces into lines of at most `columns`; a longer word stays whole."""
    lines = [""]
    for word in text.split():
        if lines[-1] and len(lines[-1]) + 1 + len(word) > columns:
            lines.append(word)
        else:
            lines[-1] += f" {word}" if lines[-1] else word
    return lines


def _usage(line: str) -> str:
    return f"Usage: {line}"


def _paragraph(text: str) -> str:
    lines = text.splitlines() if text.startswith(" ") else wrap(text, width() - 2)
    return "\n".join(f"  {line}" for line in lines)


def _section(title: str, rows: Sequence[tuple[str, str]]) -> str:
    """Return a heading and two columns below it."""
    first = min(max(len(left) for left, _ in rows), FIRST)
    indent = " " * (first + 4)
    lines = [f"{title}:"]
    for left, right in rows:
        wrapped = wrap(right, max(width() - len(indent), 10))
        if len(left) > first:
            lines.append(f"  {left}")
            lines += [indent + line for line in wrapped]
        else:
            lines.append(f"  {left:<{first}}  {wrapped[0]}".rstrip())
            lines += [indent + line for line in wrapped[1:]]
    return "\n".join(lines)


def _join(*parts: str) -> str:
    return "\n\n".join(parts)
