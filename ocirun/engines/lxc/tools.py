"""LXC's programs: lxc-start, which stays as long as its container, and those that talk to it.

Every container's folder is below the state root, which is given to LXC as its container path; so
`lxc-info -P /run/ocirun -n ID` and the other tools work on containers of this engine.

Source: lxc-start(1), lxc-stop(1), lxc-freeze(1), lxc-wait(1).
"""

from __future__ import annotations

import os

from ocirun.engines.lxc.configuration import LOG, LOG_LEVEL
from ocirun.errors import SetupError, doing
from ocirun.kernel.process import posix_spawn, without_clone3
from ocirun.kernel.which import find_in_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, Final

START: Final = "lxc-start"
CONFIGURATION: Final = "config"
WAIT_S: Final = 30
LOGS_BY_OPTION: Final = 6  # the first such version of LXC
# lxc-start changes to no directory of its own, and would keep the caller's busy.
SHELL: Final = ("/bin/sh", "-c", 'cd / && exec "$@"', "sh")


def find_tool(name: str) -> str:
    """Return the path of one of LXC's programs.

    Raises:
        SetupError: it is not installed.
    """
    if found := find_in_path(name):
        return found
    raise SetupError(f"{name} is not in $PATH: the lxc engine needs LXC (Debian's package lxc)")


def spawn_start(
    root: str, container_id: str, args: Sequence[str], fds: Sequence[int], terminal: str | None
) -> int:
    """Start lxc-start for the container with a configuration in ROOT/ID; return its pid.

    It gets `fds` (borrowed, three) as its stdio, or `terminal`, the path of a pty, as its
    controlling terminal, which it connects with the container's console.
    """
    folder = f"{root}/{container_id}"
    command = [
        *SHELL,
        *(find_tool(START), "-F", "-C", "-q", "-n", container_id, "-P", root),
        *("-f", f"{folder}/{CONFIGURATION}", *log_options(folder), "--", *args),
    ]
    copies: list[int] = []
    if terminal:
        # Kernel: the first terminal that a session leader opens becomes its controlling terminal.
        actions: list[Any] = [(os.POSIX_SPAWN_OPEN, fd, terminal, os.O_RDWR, 0) for fd in (0, 1, 2)]
    else:
        copies = [os.dup(fd) for fd in fds]  # so that no target is a source that is still needed
        actions = [(os.POSIX_SPAWN_DUP2, copy, fd) for fd, copy in enumerate(copies)]
    try:
        with doing(f"starting {START}"):
            return posix_spawn(
                command[0],
                command,
                {"PATH": os.environ.get("PATH", os.defpath)},
                file_actions=actions,
                setsid=True,
                setsigmask=[],
                setsigdef=range(1, 32),
            )
    finally:
        for copy in copies:
            os.close(copy)


def log_options(folder: str) -> list[str]:
    """Return the options for lxc-start's log, none where its configuration is enough.

    LXC 6 makes the configuration's log file and leaves it empty. With the options, every version
    prints errors to the program's stderr as well, in spite of --quiet.
    """
    major = version().partition(".")[0]
    if major.isdigit() and int(major) < LOGS_BY_OPTION:
        return []
    return ["--logfile", f"{folder}/{LOG}", "--logpriority", LOG_LEVEL]


def call(name: str, root: str, container_id: str, *options: str) -> None:
    """Run another of LXC's programs on the container, and wait for it.

    Raises:
        SetupError: it fails; with what it has printed.
    """
    import subprocess  # cold

    command = [find_tool(name), "-n", container_id, "-P", root, *options]
    with doing(f"running {name}"):
        done = without_clone3(
            lambda: subprocess.run(  # noqa: S603
                command, stdin=subprocess.DEVNULL, capture_output=True, check=False
            )
        )
    if done.returncode:
        text = os.fsdecode(done.stderr or done.stdout).strip()
        said = _message(text.splitlines()[0]) if text else f"exit status {done.returncode}"
        raise SetupError(f"{name}: {said}")


def read_log(folder: str) -> list[str]:
    """Return the lines of lxc-start's log, none if there is no log yet."""
    with doing(f"reading {folder}/{LOG}"):
        try:
            with open(f"{folder}/{LOG}", encoding="utf-8", errors="surrogateescape") as file:
                return file.read().splitlines()
        except FileNotFoundError:
            return []


def first_error(lines: Sequence[str]) -> str:
    """Return the message of the first error in the log, "" if there is none."""
    for line in lines:
        if " ERROR " in line:
            return _message(line)
    return ""


def _message(line: str) -> str:
    """Return a line of LXC's log without its name, time and place in the source.

    lxc-start ID TIME ERROR    start - ../src/lxc/start.c:start:2198 - ENOENT - Failed to exec "x"
    lxc-stop: ID: ../src/lxc/tools/lxc_stop.c: main: 191 ID is not running
    """
    before, colon, rest = line.partition(".c:")
    if not colon or "/" not in before:
        return line
    if " - " in before:
        return rest.partition(" - ")[2]
    return rest.lstrip(" ").partition(" ")[2].partition(" ")[2]


def exit_status_in(lines: Sequence[str], pid: int) -> int | None:
    """Return the exit status of the container's init `pid` (128 plus a signal); None if unknown.

    lxc-start itself ends with 0. It logs an exit status other than 0, and a signal.
    """
    for line in reversed(lines):
        _, found, rest = line.partition(f"Child <{pid}> ended on ")
        if found:
            number = int(rest.rpartition("(")[2].rstrip(")"))
            return number + (128 if rest.startswith("signal") else 0)
    return None


def has_started(lines: Sequence[str]) -> bool:
    """Return whether the log says that the container's program was executed."""
    return any(" start - " in line and ":post_start:" in line for line in lines)


def version() -> str:
    """Return the version of lxc-start, such as 5.0.2.

    Raises:
        SetupError: it is not installed, or cannot be run.
    """
    import subprocess  # cold

    command = [find_tool(START), "--version"]
    with doing(f"running {START}"):
        done = without_clone3(
            lambda: subprocess.run(command, capture_output=True, check=False)  # noqa: S603
        )
    return os.fsdecode(done.stdout).strip()
