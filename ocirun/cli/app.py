"""The typer application: help, completion, and every call that is not well-formed.

It is built from the same table as the quick reader, so both know the same options; before click
reads a command line, `cli.spelling` turns Go's spelling into click's. It never runs a verb: it
returns the `Call` and the launcher acts on it, as with the quick reader.

Source: docs/runc-compat/cli.md#parsing; runc utils.go (checkArgs); github.com/urfave/cli (v1), for
the text of a usage error.
"""

from __future__ import annotations

import inspect
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from ocirun.cli.call import Call
from ocirun.cli.options import BOOL, INT, REPEAT
from ocirun.cli.output import write
from ocirun.cli.parse import is_wrong_count
from ocirun.cli.spelling import spell
from ocirun.cli.verbs import GLOBALS, VERBS
from ocirun.errors import UnknownVerb, UsageError, doing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ocirun.cli.options import Option, Verb

POSITIONAL = "words"  # the parameter that takes a verb's positional arguments
SETTINGS = "ocirun.settings"  # where the global options wait in click's context
HELP_NAMES = {"help_option_names": ["-h", "--help"]}
# Since 0.20 typer carries its own click, before it used the installed one: ask typer, not click.
ClickUsageError: Any = typer.BadParameter.__base__


def read(words: Sequence[str]) -> Call | None:
    """Read a command line with typer; None: it has been answered (help, completion).

    Raises:
        UsageError: it is wrong; what would be right has been printed on stdout, as runc does.
        SetupError: stdout cannot be written.
    """
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:  # whatever the locale says, words leave as they came
            stream.reconfigure(encoding="utf-8", errors="surrogateescape")  # type: ignore[union-attr]  # text streams of the interpreter
    group = application()
    try:
        with doing("writing to standard output"):
            result = group.main(args=list(words), prog_name="ocirun", standalone_mode=False)
            if sys.stdout is not None:
                sys.stdout.flush()
    except ClickUsageError as error:
        sentence = _sentence(error)
        _show_usage(error, sentence)
        kind = UnknownVerb if getattr(error, "names_no_verb", False) else UsageError
        raise kind(sentence) from None
    except typer.Abort:
        raise KeyboardInterrupt from None
    if isinstance(result, Call):
        return result
    if result:
        raise SystemExit(result)
    write("")  # click says nothing to a closed stdout; this refuses it
    return None


def application() -> Any:  # noqa: ANN401  # typer's click
    """Return the application: one command per verb of the table, and `help`."""
    app = typer.Typer(
        name="ocirun",
        cls=_Group,
        help="Run containers from OCI bundles: directories with a config.json and a root "
        "filesystem. A drop-in for runc.",
        epilog="`ocirun help VERB` tells more about a verb.",
        invoke_without_command=True,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich" if sys.stdout is not None and sys.stdout.isatty() else None,
        context_settings=HELP_NAMES,
    )
    app.callback()(_with_parameters(_settings, GLOBALS))
    for verb in VERBS.values():
        app.command(
            verb.name,
            cls=_command_class(verb),
            help=f"{verb.summary[:1].upper()}{verb.summary[1:]}.",
            short_help=verb.summary,
            hidden=verb.hidden,
            context_settings={**HELP_NAMES, "allow_interspersed_args": not verb.rest},
        )(_with_parameters(_reader(verb), verb.options, words=verb.words))
    app.command("help", help="Show the verbs, or how one is used.")(_help)
    app.command("h", hidden=True)(_help)
    return typer.main.get_command(app)


class _Group(TyperGroup):
    """`ocirun` itself: reads the global options in Go's spelling, names the verb."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401  # typer's click
        """Read the global options; after --version the rest of the line does not matter."""
        words = _spelt(ctx, args, GLOBALS, rest=True)
        count = 0
        while count < len(words) and words[count][:1] == "-" and words[count] != "-":
            count += 1
        if "--version" in words[:count]:
            words = words[:count]
        return list(super().parse_args(ctx, words))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:  # noqa: ANN401  # typer's click
        """Find the verb."""
        if args[0] not in self.commands and not ctx.resilient_parsing:
            raise _unknown_verb(args[0], ctx)
        return super().resolve_command(ctx, args)


def _command_class(verb: Verb) -> type[TyperCommand]:
    """Return the command class of `verb`: it reads Go's spelling and shows the verb's words."""

    class VerbCommand(TyperCommand):
        def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401
            return list(super().parse_args(ctx, _spelt(ctx, args, verb.options, rest=verb.rest)))

        def collect_usage_pieces(self, ctx: Any) -> list[str]:  # noqa: ANN401, ARG002
            return ["[OPTIONS]", *verb.words.split()]

    return VerbCommand


def _spelt(ctx: Any, words: list[str], options: Sequence[Option], *, rest: bool) -> list[str]:  # noqa: ANN401
    """Turn Go's spelling into click's, unless the line is not finished yet: completion."""
    if ctx.resilient_parsing:
        return words
    try:
        return spell(words, options, rest=rest)
    except UsageError as error:
        raise ClickUsageError(str(error), ctx=ctx) from None


def _settings(ctx: typer.Context, **values: object) -> Call | None:
    """Keep the global options; answer --version, and a call without a verb."""
    settings = _by_long_name(GLOBALS, values)
    ctx.meta[SETTINGS] = settings
    if settings["version"]:
        return Call(settings, "version", {}, [])
    if ctx.invoked_subcommand is None:
        typer.echo(ctx.get_help())
    return None


def _reader(verb: Verb) -> Callable[..., Call]:
    """Return the callback that makes a `Call` of what click read for `verb`."""

    def reader(ctx: typer.Context, **values: Any) -> Call:  # noqa: ANN401  # typer's values
        words = list(values.pop(POSITIONAL, None) or ())
        settings = ctx.meta[SETTINGS]
        if is_wrong_count(verb, len(words)):
            raise ClickUsageError(_count_sentence(verb, len(words)), ctx=ctx)
        return Call(settings, verb.name, _by_long_name(verb.options, values), words)

    return reader


def _help(
    ctx: typer.Context, verb: Annotated[str, typer.Argument(metavar="VERB", help="a verb")] = ""
) -> None:
    """Show the verbs, or how one is used."""
    group: Any = ctx.parent
    if not verb:
        typer.echo(group.get_help())
        return
    command = group.command.get_command(group, verb)
    if command is None:
        raise _unknown_verb(verb, group)
    with command.make_context(verb, [], parent=group, resilient_parsing=True) as inner:
        typer.echo(command.get_help(inner))


def _unknown_verb(name: str, ctx: Any) -> Any:  # noqa: ANN401  # typer's click
    """Return the error for a verb that is none, with runc's sentence and ours."""
    error = ClickUsageError(f"No help topic for '{name}': unknown command \"{name}\"", ctx=ctx)
    error.names_no_verb = True
    return error


def _by_long_name(options: Sequence[Option], values: dict[str, object]) -> dict[str, object]:
    result: dict[str, object] = {}
    for option in options:
        value = values[_parameter_name(option)]
        result[option.name] = tuple(value) if isinstance(value, list) else value
    return result


def _parameter_name(option: Option) -> str:
    return option.name.replace("-", "_")


def _with_parameters(
    function: Callable[..., object], options: Sequence[Option], words: str | None = None
) -> Callable[..., object]:
    """Give `function` the signature from which typer makes these options."""
    kinds = {BOOL: bool, INT: int, REPEAT: list[str]}
    only = inspect.Parameter.KEYWORD_ONLY
    parameters = [
        inspect.Parameter("ctx", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)
    ]
    for option in options:
        info = typer.Option(
            *(f"--{name}" if len(name) > 1 else f"-{name}" for name in option.names),
            help=option.help,
            hidden=option.hidden,
            metavar=option.metavar or None,
            show_default=isinstance(option.default, str) and bool(option.default),
        )
        default = list(option.default) if isinstance(option.default, tuple) else option.default
        kind: Any = kinds.get(option.kind, str)
        parameters.append(
            inspect.Parameter(
                _parameter_name(option), only, annotation=Annotated[kind, info], default=default
            )
        )
    if words is not None:
        info = typer.Argument(
            hidden=True, autocompletion=_known_ids if words.startswith("ID") else None
        )
        kind = Annotated[list[str] | None, info]
        parameters.append(inspect.Parameter(POSITIONAL, only, annotation=kind, default=None))
    function.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # for inspect
    function.__annotations__ = {one.name: one.annotation for one in parameters}
    return function


def _known_ids(ctx: typer.Context) -> list[str]:
    """Return what a shell may offer where an id is due; click keeps those that fit."""
    from ocirun.container.store import Store, default_root

    root = ctx.parent.params.get("root") if ctx.parent else None
    return Store(root or default_root()).ids()


def _count_sentence(verb: Verb, count: int) -> str:
    if verb.least == verb.most:
        need = f"exactly {verb.least}"
    elif count < verb.least:
        need = f"a minimum of {verb.least}"
    else:
        need = f"a maximum of {verb.most}"
    return f'{sys.argv[0]}: "{verb.name}" requires {need} argument(s)'


def _sentence(error: Any) -> str:  # noqa: ANN401  # typer's click
    """Return the words of a usage error as Go's flag package says them."""
    if not hasattr(error, "possibilities") or not hasattr(error, "option_name"):
        return str(error.format_message())
    name = error.option_name.lstrip("-")
    sentence = f"flag provided but not defined: -{name}"
    if error.ctx is None or len(name) < 3:
        return sentence
    import difflib

    # click's own suggestion compares the dashes too and finds anything near everything.
    spellings = [opt.lstrip("-") for param in error.ctx.command.params for opt in param.opts]
    near = difflib.get_close_matches(name, spellings, 1, 0.75)
    return f"{sentence} (did you mean --{near[0]}?)" if near else sentence


def _show_usage(error: Any, sentence: str) -> None:  # noqa: ANN401  # typer's click
    """Print what would be right on stdout; the error itself is the report's."""
    counted = sentence.endswith("argument(s)")
    try:
        typer.echo("Incorrect Usage.\n" if counted else f"Incorrect Usage: {sentence}\n")
        if error.ctx is not None:
            typer.echo(error.ctx.get_help())
    except OSError:
        pass  # stdout is not readable by anybody; the sentence goes to stderr
