"""Failure to words: the log line, the sentence on stderr, the exit status.

The only place that prints errors. A log gets exactly one line of level error, because podman reads
the whole file as one JSON object and containerd keeps the last error line; the same sentence goes
plainly to stderr when the log is a file, because conmon and go-runc read that.

Source: runc main.go and utils.go (fatal, configLogrus); logrus text_formatter.go;
docs/runc-compat/cli.md#log-and-stderr.
"""

from __future__ import annotations

import os
import sys
import time

from ocirun.cli.launcher import LOG_FLAGS, log_path
from ocirun.cli.parse import read_options
from ocirun.cli.verbs import GLOBALS
from ocirun.errors import OcirunError, what_failed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

# Where runc says "runc create failed: "; callers match what follows, never this.
_FAILED = {
    "create": "ocirun create failed: ",
    "run": "ocirun run failed: ",
    "exec": "exec failed: ",
}
EXIT_INTERRUPTED = 130
EXIT_EXEC = 255  # runc: exec could not even begin; 1 would read as the program's own status


def settings_of(words: Sequence[str]) -> dict[str, object]:
    """Return the global options of a command line that could not be read as a whole."""
    settings: dict[str, object] = {}
    read_options(words, 0, GLOBALS, settings)
    return settings


def failure(error: BaseException, verb: str, settings: dict[str, object]) -> int:
    """Report `error` and return the exit status.

    `verb` is empty while no verb was acting yet; `settings` are the global options, their paths
    absolute once a verb acts, for it may have changed directory.
    """
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    log = Log.of(settings)
    if settings["debug"] or settings["log-level"] == "debug":
        for line in background(error):
            log.write("debug", line)
    sentence = explain(error, verb)
    if log.write("error", sentence):
        _stderr((visible(sentence) if os.isatty(2) else sentence) + "\n")
    if isinstance(error, KeyboardInterrupt):
        return EXIT_INTERRUPTED
    if verb == "exec":
        return EXIT_EXEC
    return error.exit_status if isinstance(error, OcirunError) else 1


def warn(settings: dict[str, object], sentence: str) -> None:
    """Log a warning.

    Only for what would otherwise be lost, and never on a success of `state`, `ps` or `features`:
    callers read stdout and stderr as one.
    """
    Log.of(settings).write("warning", sentence)


def warn_all(settings: dict[str, object], failures: Sequence[object]) -> None:
    """Log each of `failures` as a warning: the work is done, something beside it was not."""
    for failure in failures:
        warn(settings, str(failure))


def teller(settings: dict[str, object]) -> Callable[[str], None]:
    """Return what writes one debug line to the log.

    It belongs to this process: called in a forked child it does nothing, because there the log's
    path may already name a file of the container.
    """
    log = Log.of(settings)
    owner = os.getpid()

    def tell(line: str) -> None:
        if os.getpid() == owner:
            log.write("debug", line)

    return tell


def explain(error: BaseException, verb: str) -> str:
    """Return the sentence for `error`, with the words runc's callers look for."""
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


class Log:
    """Where log lines go and what they look like; opened anew for every line."""

    __slots__ = ("format", "path")

    def __init__(self, path: str, format: str) -> None:  # noqa: A002  # the option's name
        self.path = path
        self.format = format

    @classmethod
    def of(cls, settings: dict[str, object]) -> Log:
        """Return the log that the global options ask for; a `--log` that is refused is stderr."""
        path = str(settings["log"])
        try:
            return cls(log_path(path) if path else "", str(settings["log-format"]))
        except OcirunError:
            return cls("", str(settings["log-format"]))

    def write(self, level: str, message: str) -> bool:
        """Write one line; True when it went to a file, so that stderr has not seen it."""
        line = (json_line if self.format == "json" else text_line)(level, message)
        if self.path:
            try:
                # The error is what the log is for, and may be the last thing before a crash;
                # waiting for the disk at each debug line would spoil the times they tell.
                fd = os.open(self.path, LOG_FLAGS | (os.O_SYNC if level == "error" else 0), 0o644)
                try:
                    os.write(fd, to_bytes(line))
                finally:
                    os.close(fd)
            except OSError:
                pass  # the sentence still reaches stderr, below
            else:
                return True
        if self.format != "json" and os.isatty(2):
            message = message if message.startswith("ocirun ") else f"ocirun: {message}"
            line = visible(message) + "\n"
        _stderr(line)
        return False


def now() -> str:
    """Return the time as RFC 3339 in UTC, with microseconds."""
    seconds, rest = divmod(time.time_ns(), 1_000_000_000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{rest // 1000:06d}Z"


def text_line(level: str, message: str) -> str:
    """Return a line as logrus's text formatter writes it."""
    return f'time="{now()}" level={level} msg={quote(message)}\n'


def json_line(level: str, message: str) -> str:
    """Return one JSON object with the keys callers read: level, msg, time."""
    from _json import encode_basestring

    return f'{{"level":"{level}","msg":{encode_basestring(message)},"time":"{now()}"}}\n'


_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._/@^+")
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}


def quote(message: str) -> str:
    """Quote as Go's %q does, unless logrus would leave the word bare."""
    if _PLAIN.issuperset(message):
        return message
    return '"' + "".join(_quoted(char) for char in message) + '"'


def _quoted(char: str) -> str:
    if char in _ESCAPES:
        return _ESCAPES[char]
    if char.isprintable():
        return char
    code = ord(char)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that was not UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return (
        f"\\x{code:02x}"
        if code < 0x80
        else f"\\u{code:04x}"
        if code < 0x10000
        else f"\\U{code:08x}"
    )


def visible(message: str) -> str:
    """Return `message` for a terminal, with nothing in it that a terminal obeys.

    Security: names that a container or an image has chosen may stand in it.
    """
    kept = "\n\t"
    return "".join(
        char if char in kept or char.isprintable() else _quoted(char) for char in message
    )


def to_bytes(text: str) -> bytes:
    """Return `text` as the bytes it came from.

    Inside a JSON line a byte that was not UTF-8 becomes the escape of its surrogate, so that the
    line stays JSON.
    """
    return text.encode("utf-8", "backslashreplace")


def _stderr(text: str) -> None:
    """Write to stderr; when even that is refused there is nobody left to tell."""
    try:
        data = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        data = to_bytes(text)
    if sys.stderr is not None:
        try:
            sys.stderr.flush()
            os.write(2, data)
        except (OSError, ValueError):
            pass
