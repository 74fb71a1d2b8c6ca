"""Two readers, one table: what the quick reader takes, typer takes the same way."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ocirun.cli import app
from ocirun.cli.options import BOOL, INT, INTS, REPEAT, STR, Option
from ocirun.cli.parse import Call, parse
from ocirun.cli.verbs import GLOBALS, VERBS
from ocirun.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ocirun.cli.options import Verb


@pytest.fixture(autouse=True, scope="module")
def one_application() -> Iterator[None]:
    """Build typer's application once: twenty milliseconds, hundreds of times."""
    built = app.application()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(app, "application", lambda: built)
        yield


SHOWN = [verb for verb in VERBS.values() if verb.name != "init"]
SAMPLE = {BOOL: "true", STR: "some value", INT: "12", REPEAT: "A=1,B=2", INTS: "12"}


def content(call: Call | None) -> tuple[object, ...] | None:
    return call and (call.settings, call.verb, call.options, call.arguments)


def spellings(option: Option) -> list[list[str]]:
    result = []
    for name in option.names:
        for dashes in ("-", "--"):
            result.append([f"{dashes}{name}={SAMPLE[option.kind]}"])
            if option.kind == BOOL:
                result += [[f"{dashes}{name}"], [f"{dashes}{name}=F"]]
            else:
                result.append([f"{dashes}{name}", SAMPLE[option.kind]])
    return result


CASES = [
    pytest.param([*words, "state", "web"], id=" ".join(words))
    for option in GLOBALS
    for words in spellings(option)
] + [
    pytest.param([verb.name, *words, *["web"] * verb.least], id=f"{verb.name} {' '.join(words)}")
    for verb in SHOWN
    for option in verb.options
    for words in spellings(option)
]


@pytest.mark.parametrize("argv", CASES)
def test_every_spelling_of_every_option_is_read_alike_by_both(argv: list[str]) -> None:
    quick = parse(argv)
    assert quick is not None
    assert content(quick) == content(app.read(argv))


VALUES = {
    BOOL: st.sampled_from(["true", "false", "1", "0", "T", "False"]),
    STR: st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=6)
    | st.sampled_from(["-", "--", "-x", "a=b", "--root", "\udcff"]),
    INT: st.integers(-5, 2**70).map(str),
    INTS: st.integers(-5, 2**70).map(str),
    REPEAT: st.sampled_from(["A=1,B=2", "-", ""]),
}


@st.composite
def written(draw: st.DrawFn, option: Option) -> list[str]:
    """One option in one of its spellings."""
    name = draw(st.sampled_from(["-", "--"])) + draw(st.sampled_from(option.names))
    value = draw(VALUES[option.kind])
    if option.kind == BOOL:
        return draw(st.sampled_from([[name], [f"{name}={value}"]]))
    return draw(st.sampled_from([[name, value], [f"{name}={value}"]]))


@st.composite
def command_lines(draw: st.DrawFn) -> list[str]:
    """A command line that is mostly well-formed."""
    verb = draw(st.sampled_from(SHOWN))
    words: list[str] = []
    for option in draw(st.lists(st.sampled_from(GLOBALS), max_size=3)):
        words += draw(written(option))
    words.append(verb.name)
    if verb.options:
        for option in draw(st.lists(st.sampled_from(verb.options), max_size=4)):
            words += draw(written(option))
    plain = st.sampled_from(["web", "9", "-", "é", "a b", "--", "-9", "--force"])
    return words + draw(st.lists(plain, max_size=3))


@given(command_lines())
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_what_the_quick_reader_takes_typer_takes_the_same_way(argv: list[str]) -> None:
    quick = parse(argv)
    if quick is not None:
        assert content(quick) == content(app.read(argv))


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["help"],
        ["-h"],
        ["nosuchverb", "web"],
        ["state"],
        ["state", "a", "b"],
        ["state", "--nosuch", "web"],
        ["delete", "web", "--force"],
        ["delete", "--", "-web"],
        ["delete", "-fr", "web"],
        ["delete", "---force", "web"],
        ["delete", "--force=maybe", "web"],
        ["create", "--bundle"],
        ["create", "--preserve-fds", "x", "web"],
        ["create", "--preserve-fds", "010", "web"],
        ["create", "--preserve-fds", "1_0", "web"],
        ["create", "--preserve-fds", "", "web"],
        ["create", "--preserve-fds", "9" * 5000, "web"],
        ["--root"],
        ["-", "state"],
    ],
)
def test_what_is_not_plainly_well_formed_is_left_to_the_other_readers(argv: list[str]) -> None:
    assert parse(argv) is None


BEHIND = [verb for verb in SHOWN if verb.options and verb.least and not verb.rest]


@pytest.mark.parametrize("verb", BEHIND, ids=lambda verb: verb.name)
def test_options_after_the_id_mean_the_same_as_before_it(verb: Verb) -> None:
    """As in runc, whose library reads options up to the end, except those of `exec` and `ps`."""
    words = ["web"] * verb.least
    for option in verb.options:
        spelling = spellings(option)[0]
        before = parse([verb.name, *spelling, *words])
        assert before is not None
        assert content(app.read([verb.name, *words, *spelling])) == content(before), spelling


def test_two_dashes_end_the_options() -> None:
    call = app.read(["delete", "-f", "--", "-web"])
    assert call is not None
    assert (call.arguments, call.flag("force")) == (["-web"], True)


@pytest.mark.parametrize(("text", "number"), [("010", 8), ("0x10", 16), ("0o17", 15), ("1_0", 10)])
def test_typer_reads_numbers_as_go_does(text: str, number: int) -> None:
    call = app.read(["create", "--preserve-fds", text, "web"])
    assert call is not None
    assert call.number("preserve-fds") == number


def test_the_last_of_a_repeated_option_wins() -> None:
    call = parse(["delete", "--force", "--force=false", "web"])
    assert call is not None
    assert not call.flag("force")
    again = app.read(["delete", "--force", "web", "--force=false"])
    assert again is not None
    assert not again.flag("force")


def test_a_version_flag_wins_over_the_verb() -> None:
    for argv in (["--version", "state", "web"], ["-v"], ["-V", "nosuch"]):
        call = parse(argv)
        assert call is not None
        assert call.verb == "version"


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (["state"], '"state" requires exactly 1 argument(s)'),
        (["list", "x"], '"list" requires exactly 0 argument(s)'),
        (["kill"], '"kill" requires a minimum of 1 argument(s)'),
        (["kill", "a", "b", "c"], '"kill" requires a maximum of 2 argument(s)'),
        (["state", "--nosuch", "x"], "flag provided but not defined: -nosuch"),
        (["--nosuch", "state", "x"], "flag provided but not defined: -nosuch"),
        (["delete", "-fr", "x"], "flag provided but not defined: -fr"),
        (["delete", "--forc", "x"], "flag provided but not defined: -forc (did you mean --force?)"),
        (["create", "-b"], "flag needs an argument: -b"),
        (["--root"], "flag needs an argument: -root"),
        (["delete", "-f=x", "web"], 'invalid boolean value "x" for -f: parse error'),
        (
            ["create", "--preserve-fds=x", "web"],
            'invalid value "x" for flag -preserve-fds: parse error',
        ),
        (["nosuch"], "No help topic for 'nosuch': unknown command \"nosuch\""),
        (["help", "nosuch"], "No help topic for 'nosuch': unknown command \"nosuch\""),
    ],
)
def test_a_wrong_command_line_is_answered_in_words(
    argv: list[str], sentence: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UsageError) as caught:
        app.read(argv)
    assert str(caught.value).endswith(sentence)
    printed = capfd.readouterr()
    assert printed.out.startswith("Incorrect Usage")
    assert "Usage: ocirun" in printed.out
    assert printed.err == ""


@pytest.mark.parametrize("argv", [[], ["help"], ["h"], ["-h"], ["--help"], ["-help"]])
def test_help_lists_every_verb(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert app.read(argv) is None
    printed = capsys.readouterr().out
    for verb in VERBS.values():
        assert (verb.summary in printed) != verb.hidden


@pytest.mark.parametrize("verb", SHOWN, ids=lambda verb: verb.name)
def test_help_of_a_verb_names_its_options(verb: Verb, capsys: pytest.CaptureFixture[str]) -> None:
    for argv in (["help", verb.name], [verb.name, "--help"], [verb.name, "-h"]):
        assert app.read(argv) is None
        printed = capsys.readouterr().out
        assert f"ocirun {verb.name}" in printed
        for option in verb.options:
            assert (f"--{option.name}" in printed) != option.hidden


def test_no_two_options_of_a_verb_share_a_name() -> None:
    for options in (GLOBALS, *(verb.options for verb in VERBS.values())):
        names = [name for option in options for name in option.names]
        assert len(names) == len(set(names))


def test_every_verb_has_its_module() -> None:
    import importlib.util

    for name in VERBS:
        assert importlib.util.find_spec(f"ocirun.cli.commands.{name}") is not None
