"""The entry point of the command line: parse it, load the verb's module, run it, exit.

Every invocation comes through `main`; a runtime verb loads this module, the table, the reader and
its own command, nothing else of `cli`.
"""

from __future__ import annotations

import _signal
import os
import sys

from ocirun.cli.parse import parse
from ocirun.errors import UsageError, send_warnings_to

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

    from ocirun.cli.call import Call
    from ocirun.trace.session import Session


def main() -> NoReturn:
    """Run the command line in `sys.argv` and end the process with its exit status.

    It leaves through `os._exit`: taking the interpreter down costs a millisecond, and nothing
    here waits to be finalised.
    """
    # Kernel: where the caller ignores SIGCHLD, children (hooks, newuidmap, init) vanish with their
    # exit status.
    _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)
    status = act(sys.argv[1:])
    os._exit(status)


def act(argv: Sequence[str]) -> int:
    """Run the command line `argv`; return its exit status, every failure already reported."""
    verb = ""
    settings: dict[str, object] | None = None
    trace: Session | None = None
    warnings: list[str] = []

    def write() -> None:
        if warnings and settings is not None:
            from ocirun.cli.log import write_warnings  # cold: mostly there are none

            write_warnings(settings, warnings)

    send_warnings_to(warnings.append, write)
    try:
        if sys.stdin is None or sys.stdout is None or sys.stderr is None:
            _plug_stdio()
        call = parse(argv)
        if call is None:
            call = _explain(argv)
            if call is None:
                return 0
        settings = call.settings
        if call.verb != "version":
            check_settings(settings)
        verb = call.verb
        if settings["debug"]:
            _tell_start(settings)
        if settings["trace"]:
            from ocirun.trace.session import Session  # cold: only with --trace

            trace = Session(str(settings["trace"]), verb, call.arguments)
        module = __import__(f"ocirun.cli.commands.{verb}", None, None, ("run",))
        status: int = module.run(call)
        if trace:
            trace.finish()
        write()
    except BaseException as error:  # noqa: BLE001  # the last place that can still say a sentence
        from ocirun.cli.report import failure, settings_of  # cold: something went wrong

        if settings is None:
            settings = settings_of(argv)
        if trace:
            trace.finish(error)
        return failure(error, verb, settings, warnings)
    return status


def _explain(argv: Sequence[str]) -> Call | None:
    """Read what the quick reader refused; None if it has been answered, as --help is.

    Raises:
        UsageError: the command line is wrong, or typer is not there to read it.
    """
    from ocirun.cli.usage import answer  # cold: help and mistakes

    if answer(argv):
        return None
    try:
        from ocirun.cli.app import read  # cold: well-formed, but as few callers write it
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("ocirun"):
            raise
        raise UsageError(
            f"the command line needs explaining, but the Python package {error.name} is missing"
        ) from error
    return read(argv)


def check_settings(settings: dict[str, object]) -> None:
    """Refuse global options that cannot be meant, and make their paths absolute.

    Order: before anything is done, and before anything changes directory: the root and the log
    are relative to where the caller stands.

    Raises:
        UsageError: a value is not one of those known, or the log file cannot be opened.
    """
    root = settings["root"]
    if root is not None:
        if not root:  # a script's unset variable, and not a wish for the default or for here
            raise UsageError("Option --root argument should not be empty")
        settings["root"] = root = os.path.abspath(str(root))
        if root in {"/", "//"}:  # POSIX: abspath leaves two slashes at the beginning alone
            raise UsageError("Option --root argument should not be set to /")
    if settings["log-format"] not in {"text", "json", ""}:  # runc: "" is the default
        raise UsageError(f"invalid log-format: {settings['log-format']}")
    level = settings["log-level"]
    if level:
        if level not in {"error", "warning", "info", "debug"}:
            raise UsageError(f"invalid log-level: {level}")
        settings["debug"] = level == "debug"
    if settings["cgroup-manager"] not in {"", "cgroupfs", "systemd", "disabled"}:
        raise UsageError(f"invalid cgroup-manager: {settings['cgroup-manager']}")
    if settings["rootless"] not in {"auto", "true", "false", ""}:
        raise UsageError(f"invalid rootless: {settings['rootless']}")
    if settings["engine"] not in {"", "native", "lxc", "vm"}:
        raise UsageError(f"invalid engine: {settings['engine']}")
    if settings["log"]:
        from ocirun.cli.log import log_path, open_log

        settings["log"] = path = log_path(str(settings["log"]))
        # Failing later would lose the error that the log is for. Closed again at once: a
        # descriptor held here would be one more that init inherits.
        os.close(open_log(path))


def _tell_start(settings: dict[str, object]) -> None:
    """Write a debug line about how this process came up; nothing where there is one way only."""
    from ocirun.cli.log import teller  # cold: only with --debug

    if reason := sys._xoptions.get("cold-start"):
        teller(settings)(f"started without a snapshot: {reason}")
    elif "ocirun.cli.warmup" in sys.modules:
        teller(settings)("started from a snapshot")


def _plug_stdio() -> None:
    """Open /dev/null where stdin, stdout or stderr is closed.

    Security: otherwise the next file we open becomes the container's stdio, and an error
    message is written into it.
    """
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            if os.open("/dev/null", os.O_RDWR) != fd:  # the lowest free number is `fd`
                os._exit(1)
            os.set_inheritable(fd, True)
