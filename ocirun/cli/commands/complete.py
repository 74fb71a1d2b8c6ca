"""`ocirun complete SHELL WORD...`: what a shell may offer for the last word, a line each.

The scripts of `ocirun completion` ask it. It answers nothing where file names are due: the shell
then offers those.
"""

from __future__ import annotations

from ocirun.cli import help as helptext
from ocirun.cli.commands.completion import SHELLS
from ocirun.cli.options import BOOL
from ocirun.cli.output import write
from ocirun.cli.verbs import GLOBALS, VERBS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Final

    from ocirun.cli.call import Call
    from ocirun.cli.options import Option

# What stands first, second, … behind a verb, where it is not an id first.
POSITIONS: Final = {
    "audit": ("ID",),
    "kill": ("ID", "SIGNAL"),
    "mounts": ("add|remove", "ID"),
    "trace": ("view",),
    "net": ("ls|inspect|prune", "ID"),
    "completion": ("|".join(SHELLS),),
    "help": ("VERB",),
}


def run(call: Call) -> int:
    """Print the candidates: the word alone for bash, the word, a tab and a description else."""
    shell, *words = call.arguments
    rows = candidates(words or [""])
    write("".join(f"{word}\n" if shell == "bash" else f"{word}\t{what}\n" for word, what in rows))
    return 0


def candidates(words: Sequence[str]) -> list[tuple[str, str]]:
    """Return (word, description) of what may stand in place of the last of `words`.

    `words` are those of the command line behind the program's name, up to the cursor.
    """
    *before, current = words
    options: Sequence[Option] = GLOBALS
    settings: dict[str, str] = {}
    verb, given, due = "", 0, None  # the option whose value is due
    for word in before:
        if due is not None:
            settings[due.name] = word
            due = None
        elif word[:1] == "-" and word != "-":
            due = _valued(word, options)
        elif not verb:
            verb = word
            options = VERBS[verb].options if verb in VERBS else ()
        else:
            given += 1
            if verb in VERBS and VERBS[verb].rest:
                options = ()  # what follows belongs to somebody else's command
    if due is not None:
        rows = [(choice, due.help) for choice in due.choices]
    elif current[:1] == "-":
        shown = helptext.visible(options)
        rows = [(f"--{option.name}", option.help) for option in shown] + [("--help", "help")]
    elif not verb:
        rows = _verbs()
    else:
        rows = list(_positional(verb, given, settings.get("root", "")))
    return [row for row in rows if row[0].startswith(current)]


def _valued(word: str, options: Iterable[Option]) -> Option | None:
    """Return the option that `word` is if its value is the next word."""
    name = word.lstrip("-")
    return next((one for one in options if name in one.names and one.kind != BOOL), None)


def _verbs() -> list[tuple[str, str]]:
    shown = [(verb.name, verb.summary) for verb in VERBS.values() if not verb.hidden]
    return [*shown, ("help", helptext.HELP_SUMMARY)]


def _positional(verb: str, given: int, root: str) -> list[tuple[str, str]]:
    positional = VERBS[verb].positional if verb in VERBS else ""
    places = POSITIONS.get(
        verb, ("ID",) * (1 + given * ("ID..." in positional)) if "ID" in positional else ()
    )
    place = places[given] if given < len(places) else ""
    if place == "ID":
        return [(name, "container") for name in _ids(root)]
    if place == "VERB":
        return _verbs()
    if place == "SIGNAL":
        import _signal

        return sorted(
            (name[3:], f"signal {int(getattr(_signal, name))}")
            for name in dir(_signal)
            if name.startswith("SIG") and name[3:].isalnum()
        )
    return [(word, "") for word in place.split("|") if word]


def _ids(root: str) -> list[str]:
    from ocirun.container.store import Store, default_root

    return Store(root or default_root()).ids()
