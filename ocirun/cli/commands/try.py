"""`ocirun try`: a command in a throwaway container, without a bundle."""

from __future__ import annotations

import os

from ocirun.cli.output import write
from ocirun.errors import UsageError, warn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from ocirun.cli.call import Call
    from ocirun.throwaway.options import TryOptions

NETWORKS: Final = ("none", "host", "user")
CNI: Final = "cni:"


def run(call: Call) -> int:
    """Run the command and return its exit status; with --bundle, write the bundle instead."""
    from ocirun.throwaway.run import try_command, write_bundle

    options = read_options(call)
    if call.text("bundle"):
        if options.keep or options.shows_changes:
            raise UsageError("--bundle runs nothing: there is nothing to --keep or to --diff")
        write_bundle(options, os.path.abspath(call.text("bundle")))
        return 0
    outcome = try_command(
        options,
        state_root(call),
        cgroup_manager=call.cgroup_manager(),
        rootless=str(call.settings["rootless"]),
        tell=call.tell(),
    )
    write("".join(f"{line}\n" for line in outcome.changes))
    for failure in outcome.failures:
        warn(str(failure))
    return outcome.status


def read_options(call: Call) -> TryOptions:
    """Return what the call asks for, paths made absolute.

    Raises:
        UsageError: a value cannot be meant.
    """
    from ocirun.cli.sizes import parse_size
    from ocirun.throwaway.options import TryOptions

    network = call.text("net")
    if network not in NETWORKS and (not network.startswith(CNI) or network == CNI):
        raise UsageError(
            f"invalid value for --net: {network!r} is not {', '.join(NETWORKS)} or {CNI}NAME"
        )
    if network.startswith(CNI) and os.geteuid() != 0:
        raise UsageError(f"--net {network}: CNI plugins need root")
    cwd = call.text("workdir") or "/"
    if not cwd.startswith("/"):
        raise UsageError(f"--workdir {cwd}: the path must be absolute, it is the container's")
    memory = call.text("memory")
    if call.flag("tty") and not os.isatty(0):
        raise UsageError("--tty: standard input is not a terminal")
    return TryOptions(
        call.arguments,
        root=_absolute(call.text("root")),
        memory=max(parse_size(memory, "--memory"), 0) if memory else 0,
        cpus=_cpus(call.text("cpus")),
        volumes=tuple(map(_volume, call.many("volume"))),
        env=call.many("env"),
        cwd=cwd,
        user=call.text("user"),
        network=network,
        terminal=call.flag("tty"),
        keep=_absolute(call.text("keep")),
        shows_changes=call.flag("diff"),
        filters_calls=not call.flag("no-seccomp"),
    )


def state_root(call: Call) -> str:
    """Return the state root: --root of the command, or this user's.

    A user without XDG_RUNTIME_DIR gets one in the directory for temporary files.
    """
    root = call.store().root
    if call.settings["root"] or os.geteuid() == 0 or os.environ.get("XDG_RUNTIME_DIR"):
        return root
    return f"{os.environ.get('TMPDIR') or '/tmp'}/ocirun-{os.geteuid()}"  # noqa: S108  # refused unless ours


def _absolute(path: str) -> str:
    return os.path.abspath(path) if path else ""


def _cpus(text: str) -> float:
    if not text:
        return 0.0
    whole, _, fraction = text.partition(".")
    digits = whole + fraction
    if not (digits.isascii() and digits.isdecimal() and len(digits) < 10 and float(text) > 0):
        raise UsageError(f"invalid value for --cpus: {text!r} is not a number of CPUs (like 1.5)")
    return float(text)


def _volume(text: str) -> tuple[str, str, bool]:
    """Read SOURCE:DESTINATION[:ro]."""
    source, colon, rest = text.partition(":")
    destination, _, mode = rest.partition(":")
    if not source or not colon or not destination.startswith("/") or mode not in ("", "ro", "rw"):
        raise UsageError(
            f"invalid value for --volume: {text!r} is not SOURCE:/DESTINATION or "
            "SOURCE:/DESTINATION:ro"
        )
    return os.path.abspath(source), destination, mode == "ro"
