"""`ocirun validate`: every broken rule of a config.json at once."""

from __future__ import annotations

from ocirun.cli.output import write
from ocirun.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirun.cli.call import Call


def run(call: Call) -> int:
    """Print the problems, one a line or as a JSON array; 1 when there are any."""
    form = call.text("format")
    if form not in {"text", "json"}:
        raise UsageError("invalid format option")
    from ocirun.spec.validate import validate_bundle

    name = call.text("config") or "config.json"
    problems = validate_bundle(call.words[0] if call.words else ".", name)
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
