"""The report of a failure: the log line, the sentence on stderr, the exit status.

Nothing else prints errors. A log gets exactly one line of level error, because podman reads the
whole file as one JSON object and containerd keeps the last error line; the same sentence goes to
stderr when the log is a file, because conmon and go-runc read that.

Source: runc main.go and utils.go (fatal, configLogrus); docs/runc-compat/cli.md#log-and-stderr.
"""

from __future__ import annotations

import os

from ocirun.cli.log import Log, to_stderr
from ocirun.cli.logline import visible
from ocirun.cli.parse import read_options
from ocirun.cli.verbs import GLOBALS
from ocirun.errors import OcirunError, what_failed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Final

# Where runc says "runc create failed: "; callers match what follows, never this.
_FAILED: Final = {
    "create": "ocirun create failed: ",
    "run": "ocirun run failed: ",
    "exec": "exec failed: ",
}
EXIT_INTERRUPTED: Final = 130
EXIT_EXEC: Final = 255  # runc: exec could not even begin; 1 would read as the program's own status


def settings_of(argv: Sequence[str]) -> dict[str, object]:
    """Return the global options of a command line that could not be read as a whole."""
    settings: dict[str, object] = {}
    read_options(argv, 0, GLOBALS, settings)
    return settings


def failure(
    error: BaseException, verb: str, settings: dict[str, object], warnings: Sequence[str] = ()
) -> int:
    """Report `error` and return the exit status.

    `verb` is empty while no verb was acting yet; `settings` are the global options, their paths
    absolute once a verb acts, for it may have changed directory. `warnings` came before it.
    """
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    log = Log.of(settings)
    if settings["debug"] or settings["log-level"] == "debug":
        for line in background(error):
            log.write("debug", line)
    sentence = explain(error, verb)
    if log.write_error(sentence, warnings):
        to_stderr((visible(sentence) if os.isatty(2) else sentence) + "\n")
    if isinstance(error, KeyboardInterrupt):
        return EXIT_INTERRUPTED
    if verb == "exec":
        return EXIT_EXEC
    return error.exit_status if isinstance(error, OcirunError) else 1


def explain(error: BaseException, verb: str) -> str:
    """Return the sentence for `error`, in the wording that runc's callers look for."""
    prefix = _FAILED.get(verb, "")
    if isinstance(error, OcirunError):
        return f"{prefix}{error}"
    if isinstance(error, KeyboardInterrupt):
        return f"{prefix}interrupted"
    if isinstance(error, MemoryError):
        return f"{prefix}out of memory"
    if isinstance(error, ImportError):
        # No memory, no descriptor, or not all of an installation: nothing that we could mend.
        return f"{prefix}loading the Python module {error.name}: {error}"
    if isinstance(error, OSError):
        return prefix + what_failed(error)
    return f"{prefix}internal error: {type(error).__name__}: {error}, please report it"


def background(error: BaseException) -> list[str]:
    """Return what lies behind `error`, for --debug: notes, causes, and the traceback of a bug."""
    lines: list[str] = []
    link: BaseException | None = error
    while link is not None:
        if link is not error:
            lines.append(f"because of {type(link).__name__}: {link}")
        lines += getattr(link, "__notes__", ())
        link = link.__cause__
    if not isinstance(error, (OcirunError, KeyboardInterrupt)):
        import traceback  # cold: a bug, and somebody who looks for it

        lines.append("".join(traceback.format_exception(error)).rstrip())
    return lines
