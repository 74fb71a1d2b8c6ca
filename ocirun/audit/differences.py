"""Differences between a running container and its config.json.

Source: docs/audit.md#differences.
"""

from __future__ import annotations

from ocirun.audit.devices import access
from ocirun.audit.world import HOST, KINDS, SETS
from ocirun.cgroups.devicerules import ANY, OPENING, text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Final

    from ocirun.audit.of_config import ConfigWorld
    from ocirun.audit.world import World

MANY: Final = 4  # how many devices or files a difference lists


class Difference:
    """One setting on which config.json and the kernel disagree; both values as text."""

    __slots__ = ("config", "kernel", "subject")

    def __init__(self, subject: str, config: str, kernel: str) -> None:
        self.subject = subject
        self.config = config
        self.kernel = kernel

    def body(self) -> dict[str, str]:
        """Return it as JSON, in the order of schemas/audit/audit.json."""
        return {"subject": self.subject, "config": self.config, "kernel": self.kernel}


def differences(asked: ConfigWorld, real: World) -> list[Difference]:
    """Return all differences; `asked` is the world of config.json, `real` that of the kernel."""
    # A limit of a parent cgroup applies too, and may be smaller.
    found = [
        _differ(asked, real, "no_new_privs", lambda one: _yes(one.no_new_privs)),
        _differ(asked, real, "uid", lambda one: str(one.uid)),
        _differ(asked, real, "read-only root", lambda one: _yes(one.readonly_root)),
        _differ(asked, real, "seccomp filter", lambda one: _yes(one.filters != [])),
        _differ(asked, real, "pids limit", lambda one: str(one.pids_limit or "none")),
        _differ(asked, real, "memory limit", lambda one: str(one.memory_limit or "none")),
        *(
            Difference(f"{kind} capabilities", _names(asked, kind), _names(real, kind))
            for kind in SETS
        ),
        *(
            Difference(f"{kind} namespace", _whose(asked, kind), _whose(real, kind))
            for kind in KINDS
        ),
    ]
    if asked.filters and real.filters and asked.filters != real.filters:
        found.append(Difference("seccomp filter", "that of linux.seccomp", "another, or several"))
    if not (asked.no_new_privs or real.no_new_privs):  # else they were not looked for
        setuid, capable = "setuid programs", "programs with file capabilities"
        found.append(_differ(asked, real, setuid, lambda one: _some(sorted({*one.setuid_files}))))
        found.append(_differ(asked, real, capable, lambda one: _some([*one.given()])))
    if asked.uid_map and real.uid_map:
        found.append(_differ(asked, real, "uid mappings", lambda one: str(sorted(one.uid_map))))
    return [
        *(one for one in found if one.config != one.kernel),
        *_rules(asked, real),
        *_mounts(asked, real),
    ]


def _differ(
    asked: ConfigWorld, real: World, subject: str, words: Callable[[World], str]
) -> Difference:
    return Difference(subject, words(asked), words(real))


def _names(world: World, kind: str) -> str:
    return ", ".join(sorted(world.capabilities[kind])) or "none"


def _whose(world: World, kind: str) -> str:
    return "the host's" if world.namespaces[kind] == HOST else "its own"


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _some(names: list[str]) -> str:
    more = len(names) - MANY
    return (", ".join(names[:MANY]) or "none") + (f", and {more} more" if more > 0 else "")


def _rules(asked: ConfigWorld, real: World) -> Iterator[Difference]:
    """Compare which devices may be opened, of those that either side's rules name."""
    sides: list[list[str]] = [[], []]
    for kind in ("b", "c"):
        tables = [(world.rules or {}).get(kind, {}) for world in (asked, real)]
        keys = {(major, minor) for table in tables for major, row in table.items() for minor in row}
        others: list[int] = []
        for major, minor in sorted({(ANY, ANY)} | keys):  # ANY is the least, so it comes first
            bits = [access(world, kind, major, minor) & OPENING for world in (asked, real)]
            if bits[0] != bits[1] and bits != others:
                for words, one in zip(sides, bits, strict=True):
                    device = text((kind, major, minor), one)
                    words.append(device if one else f"{device}none")
            others = others or bits
    if sides[0]:
        more = len(sides[0]) - MANY
        rest = [f"and {more} more"] if more > 0 else []
        yield Difference("device rules", *(", ".join([*one[:MANY], *rest]) for one in sides))


def _mounts(asked: ConfigWorld, real: World) -> Iterator[Difference]:
    """Compare the mounts in config.json, and list host mounts that are not in it."""
    wanted = {place.destination: place for place in asked.mounts}
    for place in real.mounts:
        one = wanted.get(place.destination)
        subject = f"mount on {place.destination}"
        if one is None:
            inside = any(place.destination.startswith(f"{other}/") for other in wanted)
            if place.source and not inside:
                yield Difference(subject, "none", place.source)
        elif one.source and one.readonly != place.readonly:
            sides = ["read-only" if side.readonly else "writable" for side in (one, place)]
            yield Difference(subject, *sides)
