"""Verbs that run as an `ocirun` process: those that fork or start CRIU.

A program with threads may not fork, and a container must not reach it through /proc/PID/exe. These
verbs are rare, so each runs the sealed command.
"""

from __future__ import annotations

import os

from ocirun.errors import ContainerNotFound, Problem, SetupError, SpecError, warn
from ocirun.process.command import find_command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any, Final

NOT_FOUND: Final = "container does not exist"
FROM_STDIN: Final = "standard input: "


def call(
    root: str,
    container_id: str,
    words: Sequence[str],
    flags: Mapping[str, Any],
    *,
    data: bytes = b"",
    fds: Sequence[int] = (),
) -> None:
    """Run `ocirun WORDS… CONTAINER_ID` with `flags` and wait for it; log its warnings.

    `flags` maps Python names (`_` for `-`) to values: True for a flag without a value, a str, or a
    list for a repeated flag. `data` is written to stdin, and "-" becomes the last argument;
    otherwise `fds` (borrowed) are its stdin, stdout and stderr.

    Raises:
        ContainerNotFound: no container has this id.
        SpecError: `data` breaks a rule.
        SetupError: the command failed; the message is the command's.
    """
    import subprocess  # cold: as is all of this module
    from tempfile import TemporaryDirectory

    options: list[str] = []
    for name, value in flags.items():
        flag = f"--{name.replace('_', '-')}"
        for one in value if isinstance(value, (list, tuple)) else [value]:
            options += [flag] if one is True else [flag, str(one)] if one else []
    with TemporaryDirectory(prefix="ocirun-") as folder:
        log = f"{folder}/log"
        command = [find_command(), "--root", root, "--log", log, "--log-format", "json"]
        stdin, stdout, stderr = fds or (None, subprocess.DEVNULL, subprocess.DEVNULL)
        done = subprocess.run(  # noqa: S603  # our own command, and no shell
            [*command, *words, *options, container_id, *(["-"] if data else [])],
            stdin=stdin,
            input=data if not fds else None,
            stdout=stdout,
            stderr=stderr,
            check=False,
            cwd="/",
        )
        errors = _read(log)
    if done.returncode:
        raise _error(container_id, errors or [f"{command[0]} ended with {done.returncode}"])


def _read(log: str) -> list[str]:
    """Log the warnings in `log`, and return the errors."""
    from ocirun.spec.jsontext import parse

    errors = []
    if os.path.exists(log):
        with open(log, "rb") as file:
            for line in file:
                entry: Any = parse(line, "log")
                if entry["level"] == "error":
                    errors.append(str(entry["msg"]))
                elif entry["level"] == "warning":
                    warn(str(entry["msg"]))
    return errors


def _error(container_id: str, errors: list[str]) -> Exception:
    message = errors[-1]
    if message == NOT_FOUND:
        return ContainerNotFound(container_id)
    if message.startswith(FROM_STDIN):
        return SpecError([Problem("", message.removeprefix(FROM_STDIN))], "mounts")
    return SetupError(message)
