"""`ocirun validate`: every broken rule of a config.json at once, and what looks misspelled."""

from __future__ import annotations

import os

from ocirun.cli.output import write
from ocirun.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from ocirun.cli.call import Call

CONFIG: Final = "config.json"


def run(call: Call) -> int:
    """Print problems and warnings, one a line or as a JSON array.

    1 when there are problems; with --strict also when there are warnings.
    """
    form = call.text("format")
    if form not in {"text", "json"}:
        raise UsageError("invalid format option")
    bundle, name, shown = _place(call.arguments[0] if call.arguments else ".", call.text("config"))
    from ocirun.spec.jsontext import indented, printable
    from ocirun.spec.validate import examine_bundle

    verdict = examine_bundle(bundle, name)
    found = [("error", one) for one in verdict.problems]
    found += [("warning", one) for one in verdict.warnings]
    if form == "json":
        rows = [
            {
                "file": shown,
                "severity": severity,
                "pointer": one.pointer,
                "message": one.message,
                "remedy": one.remedy,
            }
            for severity, one in found
        ]
        write(indented(rows, "  ") + "\n")
    else:
        file = printable(shown)
        leads = {"error": file, "warning": f"{file}: warning"}
        lines = [f"{leads[severity]}: {one}" for severity, one in found]
        if not verdict.problems:
            lines.append(f"{file}: no rule is broken")
        write("".join(f"{line}\n" for line in lines))
    return 1 if verdict.problems or (verdict.warnings and call.flag("strict")) else 0


def _place(word: str, config: str) -> tuple[str, str, str]:
    """Return the bundle, the file in it, and the path that sentences name it by.

    `word` is the bundle, or the file itself, whose directory is then the bundle.

    Raises:
        UsageError: a file is given, and --config as well.
    """
    if os.path.isdir(word) or not (os.path.lexists(word) or word.endswith(".json")):
        name = config or CONFIG
        return word, name, os.path.normpath(os.path.join(word, name))
    if config not in {"", CONFIG}:
        raise UsageError(f"--config names a file in a bundle, and {word} is a file itself")
    bundle, name = os.path.split(word)
    return bundle or ".", name, word
