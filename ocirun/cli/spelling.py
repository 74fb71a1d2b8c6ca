"""Go's spelling of options into click's, for the calls that typer reads.

Source: golang.org/pkg/flag, "Command line flag syntax", and its error messages.
"""

from __future__ import annotations

from ocirun.cli.options import BOOL, INT, INTS
from ocirun.cli.parse import TRUTHS
from ocirun.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from ocirun.cli.options import Option


def spell(argv: Sequence[str], options: Sequence[Option], *, rest: bool) -> list[str]:
    """Turn Go's spelling of options into click's: `-no-pivot=true` becomes `--no-pivot`.

    Unknown options pass, for click to refuse with a suggestion; `rest`: arguments from the first
    positional one on are left alone.

    Raises:
        UsageError: a value is missing or cannot be one; the message is that of Go's flag package.
    """
    known = {name: option for option in options for name in option.names}
    spelt: list[tuple[str, str]] = []  # the option's name, "" for other words; the word for click
    queue = list(argv)
    while queue:
        word = queue.pop(0)
        if word[:1] != "-" or word == "-":
            spelt.append(("", word))
            if not rest:
                continue
            break
        if word == "--":
            spelt.append(("", word))
            break
        dashes = 2 if word[1] == "-" else 1
        name, equals, text = word[dashes:].partition("=")
        option = known.get(name)
        if option is None:
            spelt.append(("", word if name == "h" else f"--{word[dashes:]}"))
        elif option.kind == BOOL:
            spelt = _spell_flag(option, spelt, word, text if equals else "true")
        elif not equals and not queue:
            raise UsageError(f"flag needs an argument: -{name}")
        else:
            value = text if equals else queue.pop(0)
            if option.kind in (INT, INTS):
                value = _spell_number(name, value)
            spelt.append((option.name, f"--{option.name}={value}"))
    return [word for _, word in spelt] + queue


def _spell_flag(
    option: Option,
    spelt: list[tuple[str, str]],
    word: str,
    text: str,
) -> list[tuple[str, str]]:
    """Add a boolean option; `=false` takes an earlier one back, for click knows no such word."""
    if text not in TRUTHS:
        name = word.lstrip("-").partition("=")[0]
        raise UsageError(f'invalid boolean value "{text}" for -{name}: parse error')
    if TRUTHS[text]:
        return [*spelt, (option.name, f"--{option.name}")]
    others = [pair for pair in spelt if pair[0] != option.name]
    return others if option.default is False else [*others, (option.name, spelt_false(option))]


def spelt_false(option: Option) -> str:
    """Return the word for click that says false, where that is not the same as saying nothing."""
    return f"--false:{option.name}"


def _spell_number(name: str, text: str) -> str:
    """Return the decimal spelling of an integer as Go reads it: 0x, 0o, 0b, and 0 for octal."""
    sign = text[:1] if text[:1] in {"-", "+"} else ""
    digits = text[len(sign) :]
    octal = len(digits) > 1 and digits[0] == "0" and digits[1].isdigit()
    try:
        return str(int(f"{sign}0o{digits[1:]}" if octal else f"{sign}{digits}".strip(), 0))
    except ValueError:
        raise UsageError(f'invalid value "{text}" for flag -{name}: parse error') from None
