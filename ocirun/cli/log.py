"""The log: where it is, and how lines get there.

A log file is opened anew for each line, so that no descriptor of it can reach a container.

Source: runc main.go (configLogrus); crun(1), --log.
"""

from __future__ import annotations

import os
import stat
import sys
from errno import EINVAL, EISDIR

from ocirun.errors import OcirunError, UsageError, kernel_words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Final

# O_NONBLOCK: a FIFO must not make us wait for a reader.
FLAGS: Final = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK

# Character devices that only take text: null and kmsg by number, terminals by their majors (the
# kernel's Documentation/admin-guide/devices.txt).
NULL_AND_KMSG: Final = {(1, 3), (1, 11)}
TERMINALS: Final = {4, 5, *range(136, 144)}


def log_path(word: str) -> str:
    """Return the absolute path that `--log word` means; crun's `file:PATH` means PATH.

    Raises:
        UsageError: crun's `journald:` and `syslog:` are not supported.
    """
    kind, colon, rest = word.partition(":")
    if colon and kind in {"journald", "syslog"}:
        raise UsageError(f"--log {word}: only files can be logged to")
    return os.path.abspath(rest if colon and kind == "file" else word)


def open_log(path: str, flags: int = 0) -> int:
    """Open the log file at `path` for appending; made where it is missing.

    As with runc it may be a pipe, a terminal or /dev/null: `/dev/stderr` is what we were given.

    Security: no other device is opened. Opening one may act on it, and what is appended to a disk
    overwrites it.

    Returns:
        The descriptor, close-on-exec; the caller closes it.

    Raises:
        UsageError: something else lies there, or the kernel refuses.
    """
    try:
        if os.path.exists(path):
            _require_writable_text(os.stat(path))
        fd = os.open(path, FLAGS | flags, 0o644)
        try:
            found = os.fstat(fd)
            _require_writable_text(found)  # somebody may have exchanged it in between
            if not stat.S_ISREG(found.st_mode):
                os.set_blocking(fd, True)  # a line waits for a slow reader rather than being lost
        except BaseException:
            os.close(fd)
            raise
    except OSError as error:
        raise UsageError(f"open {path}: {kernel_words(error)}") from error
    return fd


def _require_writable_text(found: os.stat_result) -> None:
    """Raise OSError unless text can be appended to the file and nothing else happens."""
    if stat.S_ISREG(found.st_mode) or stat.S_ISFIFO(found.st_mode):
        return
    if stat.S_ISDIR(found.st_mode):
        raise OSError(EISDIR, os.strerror(EISDIR))
    if stat.S_ISCHR(found.st_mode):
        number = os.major(found.st_rdev), os.minor(found.st_rdev)
        if number in NULL_AND_KMSG or number[0] in TERMINALS:
            return
    raise OSError(EINVAL, "not a regular file, pipe, terminal or /dev/null")


class Log:
    """Where log lines go ("" is stderr) and what they look like ("text" or "json")."""

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
        from ocirun.cli.logline import json_line, text_line  # cold: mostly nothing is logged

        line = (json_line if self.format == "json" else text_line)(level, message)
        return self._write(level, message, line)

    def write_error(self, message: str, warnings: Sequence[str]) -> bool:
        """Write the line of a failure; True as `write`.

        `warnings` came before it and have not been written yet. A JSON log has them in the same
        object: podman reads the whole file as one.
        """
        from ocirun.cli.logline import json_line

        if self.format == "json":
            return self._write("error", message, json_line("error", message, warnings))
        for warning in warnings:
            self.write("warning", warning)
        return self.write("error", message)

    def _write(self, level: str, message: str, line: str) -> bool:
        from ocirun.cli.logline import to_bytes, visible

        if self.path:
            try:
                # The error is what the log is for, and may be the last thing before a crash;
                # waiting for the disk at each debug line would spoil the times they tell.
                fd = open_log(self.path, os.O_SYNC if level == "error" else 0)
                try:
                    os.write(fd, to_bytes(line))
                finally:
                    os.close(fd)
            except (OSError, UsageError):
                pass  # the sentence still reaches stderr, below
            else:
                return True
        if self.format != "json" and os.isatty(2):
            message = message if message.startswith("ocirun ") else f"ocirun: {message}"
            line = visible(message) + "\n"
        to_stderr(line)
        return False


def write_warnings(settings: dict[str, object], warnings: list[str]) -> None:
    """Write `warnings` to the log, and empty the list.

    On success only: a failure has them in its own line (Log.write_error). They go to the log file
    where there is one, never to stderr beside it: callers read stdout and stderr as one.
    """
    log = Log.of(settings)
    while warnings:
        log.write("warning", warnings.pop(0))


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


def to_stderr(text: str) -> None:
    """Write to stderr; if that fails, too, the error is lost."""
    try:
        data = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        data = text.encode("utf-8", "backslashreplace")
    if sys.stderr is not None:
        try:
            sys.stderr.flush()
            os.write(2, data)
        except (OSError, ValueError):
            pass
