"""Masked and read-only paths that are not there: a slip of the pen hides nothing.

A path that does not exist is skipped when the container is made, because kernels differ. Here it is
looked for where the container will have it: in this kernel's procfs and sysfs, in the source of a
bind mount, in the root file system. Whatever is not certain (a link on the way, a file system that
is empty until it is mounted) counts as there.

Cold: only `validate` comes here.

Source: runtime-spec config-linux.md#masked-paths, config-linux.md#readonly-paths.
"""

from __future__ import annotations

import os
import stat

from ocirun.errors import Problem
from ocirun.spec.default import MASKED_PATHS, READONLY_PATHS
from ocirun.spec.jsontext import quoted
from ocirun.spec.misspelled import closest, meant
from ocirun.spec.mount_rules import is_bind

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Final, Literal

    from ocirun.spec.types import Config

MEMBERS: Final[tuple[Literal["maskedPaths", "readonlyPaths"], ...]] = (
    "maskedPaths",
    "readonlyPaths",
)
# What engines list on every host, although not every kernel has it.
# Source: docs/clients.md; the files in tests/data/configs.
USUAL: Final = frozenset(
    (
        *MASKED_PATHS,
        *READONLY_PATHS,
        "/proc/interrupts",
        "/sys/dev/block",
        "/sys/devices/virtual/powercap",
        "/sys/fs/selinux",
    )
)


def missing_paths(bundle: str, config: Config) -> list[Problem]:
    """Return a warning for each hidden path of `config` that its container will not have.

    `config` conforms to its schema and breaks no rule; `bundle` is its directory.
    """
    return list(_missing(bundle, config))


def _missing(bundle: str, config: Config) -> Iterator[Problem]:
    for member in MEMBERS:
        for index, path in enumerate(config.get("linux", {}).get(member, ())):
            path = os.path.normpath(path)  # noqa: PLW2901  # the same path
            if path in USUAL:
                continue
            base, rest = _host_place(bundle, config, path)
            gone = _first_missing(base, rest) if base else None
            if gone is not None:
                message = f"{quoted(path)} does not exist in the container and is skipped"
                remedy = meant(_near(path, base, rest, gone))
                yield Problem(f"/linux/{member}/{index}", message, remedy)


def _host_place(bundle: str, config: Config, path: str) -> tuple[str, str]:
    """Return where on the host `path` is looked for: a directory, and the rest below it; or ""."""
    base, at = os.path.join(bundle, config.get("root", {"path": ""})["path"]), "/"
    for mount in config.get("mounts", ()):
        destination = "/" + os.path.normpath(mount["destination"]).strip("/")
        if path != destination and not path.startswith(destination.rstrip("/") + "/"):
            continue
        at, kind = destination, mount.get("type", "")
        if is_bind(mount):
            base = os.path.join(bundle, mount.get("source", ""))
        elif kind in {"proc", "sysfs"}:
            base = "/proc" if kind == "proc" else "/sys"
        else:
            base = ""  # empty until it is mounted, or made for this container
    rest = path[len(at) :].strip("/")
    if base == "/proc" and rest[:1].isdigit():
        base = ""  # a process of the container
    return base, rest


def _first_missing(base: str, rest: str) -> int | None:
    """Return how many steps of `rest` below `base` exist if not all do; None if not certain."""
    if not os.path.isdir(base):
        return None
    place = base
    for index, step in enumerate(rest.split("/") if rest else ()):
        place = os.path.join(place, step)
        try:
            mode = os.lstat(place).st_mode
        except FileNotFoundError:
            return index
        except OSError:
            return None
        if stat.S_ISLNK(mode):
            return None
    return None


def _near(path: str, base: str, rest: str, gone: int) -> str:
    """Return the path that was meant by `path`, whose step `gone` is missing; "" if none."""
    steps = rest.split("/")
    try:
        names = os.listdir(os.path.join(base, *steps[:gone]))
    except OSError:
        names = []
    parent = os.path.dirname(path)
    names += [os.path.basename(one) for one in USUAL if os.path.dirname(one) == parent]
    steps[gone] = closest(steps[gone], names)
    found = path[: len(path) - len(rest)] + "/".join(steps)
    sure = steps[gone] and (found in USUAL or _first_missing(base, "/".join(steps)) is None)
    return found if sure else ""
