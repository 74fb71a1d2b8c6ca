"""Help and usage errors: the quick answer is the one that typer would give."""

from __future__ import annotations

import io
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ocirun.cli import app, usage
from ocirun.cli import help as helptext
from ocirun.cli.manual import PAGES
from ocirun.cli.options import Option
from ocirun.cli.verbs import VERBS
from ocirun.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ocirun.cli.options import Verb

SHOWN = [verb for verb in VERBS.values() if not verb.hidden]
ODD = ("--help", "-h", "-help", "--nosuch", "--forc", "-x", "--", "-", "--preserve-fds", "--root")
WORDS = st.sampled_from(
    ["web", "9", "--force", "-f", "--preserve-fds=x", "--debug=maybe", "--log", "--detach=0", *ODD]
)


def said(read: Callable[[list[str]], object], words: list[str]) -> tuple[str, str, int]:
    """Return what `read` prints and raises: text, sentence, exit status."""
    data = io.BytesIO()
    sentence, status = "", 0
    with pytest.MonkeyPatch.context() as patch:
        out = io.TextIOWrapper(data, "utf-8", write_through=True)
        patch.setattr(sys, "stdout", out)
        for module in (usage, app):
            patch.setattr(module, "write", out.write)
        try:
            read(words)
        except UsageError as error:
            sentence, status = str(error), error.exit_status
    return data.getvalue().decode(), sentence, status


@given(
    st.lists(WORDS, max_size=2),
    st.sampled_from(["", "help", "frob", *(verb.name for verb in SHOWN)]),
    st.lists(WORDS, max_size=4),
)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_what_is_answered_without_typer_typer_answers_the_same_way(
    front: list[str], verb: str, rest: list[str]
) -> None:
    words = [*front, *([verb] if verb else []), *rest]
    text, sentence, status = said(usage.answer, words)
    if text:
        assert said(app.read, words) == (text, sentence, status), words


@pytest.mark.parametrize(
    "words",
    [["--help"], ["kill", "--help"], ["frob"], ["kill"], ["list", "--nosuch"], ["help", "run"], []],
)
def test_the_common_ones_need_no_typer(words: list[str]) -> None:
    text, _, _ = said(usage.answer, words)
    assert "Usage: ocirun" in text


@pytest.mark.parametrize(
    "words", [["delete", "web", "--force"], ["create", "--preserve-fds", "010", "w"]]
)
def test_what_is_well_formed_is_left_to_typer(words: list[str]) -> None:
    assert usage.answer(words) is False


def test_every_verb_has_a_page() -> None:
    assert set(PAGES) == {verb.name for verb in SHOWN} | {"help"}


@pytest.mark.parametrize("verb", SHOWN, ids=lambda verb: verb.name)
def test_examples_are_command_lines_that_are_taken(verb: Verb) -> None:
    import shlex

    for line, _ in PAGES[verb.name].examples:
        words = shlex.split(line.partition(" <")[0].partition(" >")[0])
        if words[0] == "ocirun":
            assert app.read(words[1:]) is not None or "help" in words


def test_the_longest_lines_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    for columns in (50, 66, 80, 200):
        monkeypatch.setenv("COLUMNS", str(columns))
        most = helptext.width()
        assert most == max(50, min(columns, 80) - 2)
        for text in (helptext.overview(), *(helptext.of_verb(verb.name) for verb in SHOWN)):
            for line in text.splitlines():
                words = line.strip()
                assert len(line) <= most or "  " not in words or line.startswith("    "), line


@pytest.mark.parametrize("verb", SHOWN, ids=lambda verb: verb.name)
def test_the_options_shown_are_those_that_typer_takes(verb: Verb) -> None:
    command = app.application().commands[verb.name]
    taken = {name for param in command.params[:-1] for name in param.opts}  # the last: the words
    hidden = {name for option in verb.options if option.hidden for name in option.names}
    shown = {
        name
        for left, _ in map(helptext.row, helptext.visible(verb.options))
        for name in left.replace(",", "").split()
        if name.startswith("-")
    }
    assert shown == {name for name in taken if name.lstrip("-") not in hidden}


def test_a_row_has_short_names_first_and_the_default() -> None:
    option = Option("format", "str", "output format", "f", metavar="F", default="table")
    assert helptext.row(option) == ("-f, --format F", "output format [default: table]")


@pytest.mark.parametrize(
    ("text", "columns", "lines"),
    [
        ("", 10, [""]),
        ("one two", 7, ["one two"]),
        ("one two", 6, ["one", "two"]),
        ("longer-than-that x", 5, ["longer-than-that", "x"]),
    ],
)
def test_text_is_broken_at_spaces(text: str, columns: int, lines: list[str]) -> None:
    assert helptext.wrap(text, columns) == lines
