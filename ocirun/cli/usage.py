"""Answers to `--help` and to a wrong command line, without loading typer.

Loading typer takes a fifth of a second. What it would print for a call for help, an unknown verb or
option, a missing or impossible value and a wrong number of arguments follows from the table of
verbs alone. Everything else (options after the id, Go's numbers) typer reads.
"""

from __future__ import annotations

import sys

from ocirun.cli import help as helptext
from ocirun.cli.output import write
from ocirun.cli.parse import is_wrong_count
from ocirun.cli.spelling import spell
from ocirun.cli.verbs import GLOBALS, VERBS
from ocirun.errors import SetupError, UnknownVerb, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Final, NoReturn

    from ocirun.cli.options import Option, Verb

HELP: Final = ("-h", "--h", "--help")
HELP_VERBS: Final = ("help", "h")
LOG_FORMATS: Final = ("text", "json", "")  # runc: "" is the default


def answer(argv: Sequence[str]) -> bool:
    """Print the help that `argv` asks for; False: it asks for none, and nothing is wrong.

    Raises:
        UsageError: they are wrong; what would be right has been printed on stdout, as runc does.
        SetupError: stdout cannot be written.
    """
    front, rest = _split(argv)
    wants_help = _read(front, GLOBALS, "", rest=True)
    if not wants_help:
        _check_format(front)
    if wants_help or not rest:
        write(helptext.overview() + "\n")
        return True
    name, *rest = rest
    if name in HELP_VERBS:
        return _help(rest)
    verb = VERBS.get(name)
    if verb is None:
        refuse_verb(name)
    if _read(rest, verb.options, name, rest=verb.rest):
        write(helptext.of_verb(name) + "\n")
        return True
    count = len(_positional(rest, verb))
    if is_wrong_count(verb, count):
        refuse(count_sentence(verb, count), name)
    return False


def _check_format(front: list[str]) -> None:
    """Refuse a --log-format that is none: as with runc, before anything that follows it.

    Raises:
        UsageError: it is none.
    """
    for word in spell(front, GLOBALS, rest=True):
        name, _, text = word.partition("=")
        if name == "--log-format" and text not in LOG_FORMATS:
            raise UsageError(f"invalid log-format: {text}")


def refuse(sentence: str, verb: str, kind: type[UsageError] = UsageError) -> NoReturn:
    """Print what would be right, of `verb` or of all ("").

    Raises:
        UsageError: always, with the sentence.
    """
    counted = sentence.endswith("argument(s)")
    first = "Incorrect Usage." if counted else f"Incorrect Usage: {sentence}"
    text = helptext.of_verb(verb) if verb else helptext.overview()
    try:  # noqa: SIM105  # contextlib is not loaded otherwise
        write(f"{first}\n\n{text}\n")
    except SetupError:
        pass  # nobody reads stdout; the sentence goes to stderr
    raise kind(sentence)


def refuse_verb(name: str) -> NoReturn:
    """Refuse an unknown verb, with runc's sentence and ours.

    Raises:
        UnknownVerb: always.
    """
    refuse(f"No help topic for '{name}': unknown command \"{name}\"", "", UnknownVerb)


def count_sentence(verb: Verb, count: int) -> str:
    """Return runc's sentence about a wrong number of arguments."""
    if verb.least == verb.most:
        need = f"exactly {verb.least}"
    elif count < verb.least:
        need = f"a minimum of {verb.least}"
    else:
        need = f"a maximum of {verb.most}"
    return f'{sys.argv[0]}: "{verb.name}" requires {need} argument(s)'


def unknown_option(name: str, options: Sequence[Option]) -> str:
    """Return the error for an unknown option; `name` has no dashes."""
    sentence = f"flag provided but not defined: -{name}"
    if len(name) < 3:
        return sentence
    import difflib

    spellings = [spelling for option in options for spelling in option.names]
    near = difflib.get_close_matches(name, [*spellings, "h", "help"], 1, 0.75)
    return f"{sentence} (did you mean --{near[0]}?)" if near else sentence


def _help(argv: list[str]) -> bool:
    """Answer `ocirun help [VERB]`; False for a line with options, which typer reads."""
    if any(word[:1] == "-" for word in argv) or len(argv) > 1:
        return False
    if not argv:
        write(helptext.overview() + "\n")
        return True
    name = argv[0]
    if name not in VERBS and name not in HELP_VERBS:
        refuse_verb(name)
    write(helptext.of_verb("help" if name in HELP_VERBS else name) + "\n")
    return True


def _split(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the global options and what follows them, the verb first."""
    valued = {name for option in GLOBALS if option.kind != "bool" for name in option.names}
    at = 0
    while at < len(argv) and argv[at][:1] == "-" and argv[at] not in {"-", "--"}:
        name = argv[at][2 if argv[at][1] == "-" else 1 :]
        at += 2 if name in valued else 1
    behind = at + 1 if at < len(argv) and argv[at] == "--" else at
    return list(argv[:at]), list(argv[behind:])


def _read(argv: list[str], options: Sequence[Option], verb: str, *, rest: bool) -> bool:
    """Check the options among `argv`; return whether help is asked for.

    Raises:
        UsageError: an option is unknown, or its value is missing or impossible.
    """
    try:
        spelt = spell(argv, options, rest=rest)
    except UsageError as error:
        refuse(str(error), verb)
    known = {f"--{option.name}" for option in options}
    wanted = False
    for word in spelt:
        is_option = word[:1] == "-" and word != "-"
        if word == "--" or (rest and not is_option):
            break
        if not is_option:
            continue
        if word in HELP:
            wanted = True
        elif word.partition("=")[0] not in known:
            refuse(unknown_option(word.partition("=")[0].lstrip("-"), options), verb)
    return wanted


def _positional(argv: list[str], verb: Verb) -> list[str]:
    """Return the arguments of the verb that are not options."""
    spelt = spell(argv, verb.options, rest=verb.rest)
    found: list[str] = []
    for at, word in enumerate(spelt):
        if word == "--":
            return found + spelt[at + 1 :]
        if word[:1] != "-" or word == "-":
            if verb.rest:
                return spelt[at:]
            found.append(word)
    return found
