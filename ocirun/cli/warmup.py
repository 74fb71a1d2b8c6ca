"""What a snapshot of the interpreter holds: the hot verbs' modules, imported and run a little.

`_build/snapshot/dump.c` calls `warm_up` before it writes the image, `_build/snapshot/thaw.c` calls
`renew` in each process that starts from it. Only imports and pure functions here: what is asked of
the host now would be believed on another day.

Source: docs/fast-start.md.
"""

from __future__ import annotations

import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

# Speed: the small verbs first, so that what they need lies together and touches few pages.
SMALL: Final = ("state", "start", "kill", "delete", "list", "version")
LARGE: Final = ("create", "run", "exec", "init", "pause", "resume", "update", "ps", "features")

# What the verbs import when they need it, and what their plans may name.
PACKAGES: Final = (
    "ocirun.container",
    "ocirun.process",
    "ocirun.process.steps",
    "ocirun.rootfs",
    "ocirun.resctrl",
    "ocirun.security",
    "ocirun.security.seccomp",
    "ocirun.cgroups",
    "ocirun.cgroups.v1",
    "ocirun.cgroups.v2",
    "ocirun.kernel",
)
SPEC: Final = ("load", "checks", "rules", "default", "seccomp", "capabilities", "devices")
# Left out: they load what is not linked into the launcher, and few calls need them.
LEFT_OUT: Final = {
    "ocirun.kernel._native",
    "ocirun.kernel.archive",
    "ocirun.kernel.function_pointers",
    "ocirun.process.command",
    "ocirun.container.checkpoint",
    "ocirun.container.connect",
    "ocirun.container.network_files",
    "ocirun.container.network_list",
    "ocirun.container.network_prune",
    "ocirun.container.networks",
    "ocirun.container.restore",
}

STREAMS: Final = (
    ("stdin", "r", "surrogateescape"),
    ("stdout", "w", "surrogateescape"),
    ("stderr", "w", "backslashreplace"),
)


def warm_up(frozen: list[str]) -> None:
    """Import all that is hot, and run what can be run without a host.

    `frozen` has the names of the modules that the launcher brings along.
    """
    use_linked_calls()
    __import__("ocirun.cli.launcher")
    from ocirun.cli.parse import parse

    for verb in (*SMALL, *LARGE):
        __import__(f"ocirun.cli.commands.{verb}")
    for name in frozen:
        if name.rpartition(".")[0] in PACKAGES and name not in LEFT_OUT:
            __import__(name)
    __import__("ocirun.network.loopback")  # the rest of its package loads pyroute2
    for name in SPEC:
        __import__(f"ocirun.spec.{name}")
    from ocirun.cli.specialize import specialize

    specialize()
    # Speed: Python looks up attributes by a table of recent look-ups, which holds references to
    # their names. A process that replaces what imports have left there writes to each of these.
    sys._clear_type_cache()
    specialize()
    for verb in (*SMALL, *LARGE):
        parse(["--root", "/run/x", verb, "id"])
    int("1" * 40)  # fills a table of logarithms
    sys.path_importer_cache.clear()  # lists of the library's folder, which init would throw away
    for name, _, _ in STREAMS:
        setattr(sys, name, None)
        setattr(sys, f"__{name}__", None)


def use_linked_calls() -> None:
    """Put the modules that are linked into the launcher where their names are looked for."""
    import _ocirun_json

    import ocirun.kernel.linked
    import ocirun.spec

    sys.modules["ocirun.spec._json"] = ocirun.spec._json = _ocirun_json
    linked = ocirun.kernel.linked
    sys.modules["ocirun.kernel._native"] = ocirun.kernel._native = linked


def renew() -> None:
    """Make the standard streams and the time zone those of this process."""
    io: Any = __import__("_io")
    for fd, (name, mode, errors) in enumerate(STREAMS):
        try:
            buffer = io.open(fd, mode + "b", -1, None, None, None, False)
        except OSError:  # closed
            continue
        buffer.raw.name = f"<{name}>"
        stream = io.TextIOWrapper(
            buffer, "utf-8", errors, "\n", fd == 2 or buffer.raw.isatty(), False
        )
        stream.mode = mode
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    time.tzset()
