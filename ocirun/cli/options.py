"""What an option and a verb of the command line are; `verbs.py` is the table of them."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

BOOL: Final = "bool"
STR: Final = "str"
INT: Final = "int"
REPEAT: Final = "repeat"  # a string that may be given many times; never split on commas
INTS: Final = "ints"  # an integer that may be given many times

_DEFAULTS: Final = {BOOL: False, STR: "", INT: 0, REPEAT: (), INTS: ()}


class Option:
    """One option: `--name`, its other spellings and what a value may be.

    `names` are all spellings without dashes, the long one first; one dash or two are the same,
    as in Go's flag package. `default` is what an absent option counts as (None for a boolean: what
    the verb finds), `choices` are what a shell offers as its value; the verb checks it.
    """

    __slots__ = ("choices", "default", "help", "hidden", "kind", "metavar", "name", "names")

    def __init__(
        self,
        name: str,
        kind: str,
        help: str,  # noqa: A002  # it is the option's help, here and in typer
        *aliases: str,
        metavar: str = "",
        default: object = ...,
        hidden: bool = False,
        choices: tuple[str, ...] = (),
    ) -> None:
        self.choices = choices
        self.name = name
        self.names = (name, *aliases)
        self.kind = kind
        self.help = help
        self.metavar = metavar
        self.default = _DEFAULTS[kind] if default is ... else default
        self.hidden = hidden


class Verb:
    """One verb: what it is for, its positional arguments, its options.

    `positional` shows the positional arguments in help, `least` and `most` count them (`most` < 0:
    any number). `rest`: option reading stops at the first positional word, because what follows
    belongs to somebody else's command.
    """

    __slots__ = ("hidden", "least", "most", "name", "options", "positional", "rest", "summary")

    def __init__(
        self,
        name: str,
        summary: str,
        positional: str,
        count: tuple[int, int],
        *options: Option,
        hidden: bool = False,
        rest: bool = False,
    ) -> None:
        self.name = name
        self.summary = summary
        self.positional = positional
        self.least, self.most = count
        self.options = options
        self.hidden = hidden
        self.rest = rest
