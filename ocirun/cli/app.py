"""The typer application: it reads every call that is not plainly well-formed.

It is built from the same table as the quick reader, so both know the same options; before click
reads a command line, `cli.spelling` turns Go's spelling into click's. It never runs a verb: it
returns the `Call` and the launcher acts on it, as with the quick reader. Help and usage errors have
the texts of `cli.help` and `cli.usage`, which answer the common ones before typer is loaded.

Source: docs/runc-compat/cli.md#parsing; runc utils.go (checkArgs); github.com/urfave/cli (v1), for
the text of a usage error.
"""

from __future__ import annotations

import inspect
import keyword
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from ocirun.cli import help as helptext
from ocirun.cli import usage
from ocirun.cli.call import Call
from ocirun.cli.options import BOOL, INT, INTS, REPEAT
from ocirun.cli.output import write
from ocirun.cli.parse import is_wrong_count
from ocirun.cli.spelling import spell, spelt_false
from ocirun.cli.verbs import GLOBALS, VERBS
from ocirun.errors import UsageError, doing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ocirun.cli.options import Option, Verb

POSITIONAL = "arguments"  # the parameter that takes a verb's positional arguments
SETTINGS = "ocirun.settings"  # where the global options wait in click's context
HELP_NAMES = {"help_option_names": ["-h", "--help"]}
# Since 0.20 typer carries its own click, before it used the installed one: ask typer, not click.
ClickUsageError: Any = typer.BadParameter.__base__


def read(argv: Sequence[str]) -> Call | None:
    """Read a command line with typer; None: it has been answered (help, completion).

    Raises:
        UsageError: it is wrong; what would be right has been printed on stdout, as runc does.
        SetupError: stdout cannot be written.
    """
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:  # whatever the locale, bytes are printed unchanged
            stream.reconfigure(encoding="utf-8", errors="surrogateescape")  # type: ignore[union-attr]  # text streams of the interpreter
    group = application()
    try:
        with doing("writing to standard output"):
            result = group.main(args=list(argv), prog_name="ocirun", standalone_mode=False)
            if sys.stdout is not None:
                sys.stdout.flush()
    except ClickUsageError as error:
        verb = error.ctx.info_name if error.ctx is not None and error.ctx.parent else ""
        usage.refuse(_sentence(error, verb), verb)
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
        invoke_without_command=True,
        pretty_exceptions_enable=False,
        add_completion=False,  # cli.complete
        context_settings=HELP_NAMES,
    )
    app.callback()(_with_parameters(_settings, GLOBALS))
    for verb in VERBS.values():
        app.command(
            verb.name,
            cls=_command_class(verb),
            context_settings={**HELP_NAMES, "allow_interspersed_args": not verb.rest},
        )(_with_parameters(_reader(verb), verb.options, positional=verb.positional))
    for name in usage.HELP_VERBS:
        app.command(name)(_help)
    return typer.main.get_command(app)


class _Group(TyperGroup):
    """`ocirun` itself: reads the global options in Go's spelling, names the verb."""

    def get_help(self, ctx: Any) -> str:  # noqa: ANN401, ARG002  # typer's click
        """Return our own text."""
        return helptext.overview()

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401  # typer's click
        """Read the global options; after --version the rest of the line does not matter."""
        argv = _spelt(ctx, args, GLOBALS, rest=True)
        count = 0
        while count < len(argv) and argv[count][:1] == "-" and argv[count] != "-":
            count += 1
        if "--version" in argv[:count]:
            argv = argv[:count]
        return list(super().parse_args(ctx, argv))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:  # noqa: ANN401  # typer's click
        """Find the verb."""
        if args[0] not in self.commands:
            usage.refuse_verb(args[0])
        return super().resolve_command(ctx, args)


def _command_class(verb: Verb) -> type[TyperCommand]:
    """Return the command class of `verb`: it reads Go's spelling and shows the verb's arguments."""

    class VerbCommand(TyperCommand):
        def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401
            return list(super().parse_args(ctx, _spelt(ctx, args, verb.options, rest=verb.rest)))

        def get_help(self, ctx: Any) -> str:  # noqa: ANN401, ARG002  # typer's click
            return helptext.of_verb(verb.name)

    return VerbCommand


def _spelt(ctx: Any, argv: list[str], options: Sequence[Option], *, rest: bool) -> list[str]:  # noqa: ANN401
    """Turn Go's spelling into click's."""
    try:
        return spell(argv, options, rest=rest)
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
        arguments = list(values.pop(POSITIONAL, None) or ())
        settings = ctx.meta[SETTINGS]
        if is_wrong_count(verb, len(arguments)):
            usage.refuse(usage.count_sentence(verb, len(arguments)), verb.name)
        return Call(settings, verb.name, _by_long_name(verb.options, values), arguments)

    return reader


def _help(verb: Annotated[str, typer.Argument()] = "") -> None:
    """Show the verbs, or how one is used."""
    if verb and verb not in VERBS and verb not in usage.HELP_VERBS:
        usage.refuse_verb(verb)
    typer.echo(helptext.of_verb(verb) if verb else helptext.overview())


def _by_long_name(options: Sequence[Option], values: dict[str, object]) -> dict[str, object]:
    result: dict[str, object] = {}
    for option in options:
        value = values[_parameter_name(option)]
        result[option.name] = tuple(value) if isinstance(value, list) else value
    return result


def _parameter_name(option: Option) -> str:
    name = option.name.replace("-", "_")
    return f"{name}_" if keyword.iskeyword(name) else name


def _with_parameters(
    function: Callable[..., object], options: Sequence[Option], positional: str | None = None
) -> Callable[..., object]:
    """Set the signature of `function`, from which typer makes these options."""
    kinds = {BOOL: bool, INT: int, REPEAT: list[str], INTS: list[int]}
    only = inspect.Parameter.KEYWORD_ONLY
    parameters = [
        inspect.Parameter("ctx", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)
    ]
    for option in options:
        words = [f"--{name}" if len(name) > 1 else f"-{name}" for name in option.names]
        if option.kind == BOOL and option.default is None:
            words[0] += f"/{spelt_false(option)}"
        info = typer.Option(*words)
        default = list(option.default) if isinstance(option.default, tuple) else option.default
        kind: Any = kinds.get(option.kind, str)
        parameters.append(
            inspect.Parameter(
                _parameter_name(option), only, annotation=Annotated[kind, info], default=default
            )
        )
    if positional is not None:
        info = typer.Argument(hidden=True)
        kind = Annotated[list[str] | None, info]
        parameters.append(inspect.Parameter(POSITIONAL, only, annotation=kind, default=None))
    function.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # for inspect
    function.__annotations__ = {one.name: one.annotation for one in parameters}
    return function


def _sentence(error: Any, verb: str) -> str:  # noqa: ANN401  # typer's click
    """Return the message of a usage error as Go's flag package writes it."""
    if not hasattr(error, "possibilities") or not hasattr(error, "option_name"):
        return str(error.format_message())
    options = VERBS[verb].options if verb in VERBS else GLOBALS
    return usage.unknown_option(error.option_name.lstrip("-"), options)
