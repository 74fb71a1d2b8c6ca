"""`ocirun validate`: every broken rule of a config.json at once."""

from __future__ import annotations

import os

from ocirun.cli.output import write
from ocirun.errors import SpecError, UsageError, doing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirun.cli.parse import Call
    from ocirun.errors import Problem


def run(call: Call) -> int:
    """Print the problems, one a line or as a JSON array; 1 when there are any."""
    form = call.text("format")
    if form not in {"text", "json"}:
        raise UsageError("invalid format option")
    bundle = call.words[0] if call.words else "."
    name = call.text("config") or "config.json"
    problems = problems_of(bundle, name)
    if form == "json":
        from ocirun.spec.jsontext import indented

        rows = [
            {"pointer": one.pointer, "message": one.message, "remedy": one.remedy}
            for one in problems
        ]
        write(indented(rows, "  ") + "\n")
    elif problems:
        write("".join(f"{name}: {problem}\n" for problem in problems))
    else:
        write(f"{name}: no rule is broken\n")
    return 1 if problems else 0


def problems_of(bundle: str, name: str) -> list[Problem]:
    """Return every problem of the bundle's configuration.

    Raises:
        SetupError: the file cannot be read.
    """
    from ocirun.spec.jsontext import parse
    from ocirun.spec.schema import report

    path = os.path.join(bundle, name)
    with doing(f"open {path}"), open(path, "rb") as file:
        data = file.read()
    try:
        document = parse(data, name)
    except SpecError as error:
        return error.problems
    problems = report(document)
    if problems:
        return problems  # the rules may trust the structure, so they wait until it is right
    from ocirun.spec.rules import check_rules

    return check_rules(document)  # type: ignore[arg-type]  # the report found it to be a Config
