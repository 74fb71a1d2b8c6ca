"""The annotations org.ocirun.landlock.*, read and checked.

Cold: loaded for containers that have one.

Source: docs/landlock.md; landlock(7).
"""

from __future__ import annotations

import os

from ocirun.errors import Problem, SpecError
from ocirun.spec import LANDLOCK
from ocirun.spec.jsontext import escaped, parse, quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, Final

    from ocirun.spec.types import Config

PATHS: Final = ("read-only", "read-write", "execute")
PORTS: Final = ("tcp-bind", "tcp-connect")
SCOPE: Final = "scope"
SCOPES: Final = ("signals", "abstract-sockets")
HIGHEST_PORT: Final = 65535


class Landlock:
    """What the annotations ask for: for each name of PATHS, PORTS and SCOPE its list.

    A name that is not there has no key in `lists`, and leaves what it is about alone; an empty list
    allows nothing.
    """

    __slots__ = ("lists",)

    def __init__(self, lists: dict[str, list[Any]]) -> None:
        self.lists = lists


def read_landlock(config: Config) -> Landlock:
    """Return what the annotations of `config` ask for.

    Raises:
        SpecError: one is not known, or has not the form of docs/landlock.md; all of them.
    """
    lists: dict[str, list[Any]] = {}
    problems: list[Problem] = []
    for annotation, text in config["annotations"].items():
        if not annotation.startswith(LANDLOCK):
            continue
        name, where = annotation.removeprefix(LANDLOCK), pointer_of(annotation)
        known = (*PATHS, *PORTS, SCOPE)
        if name not in known:
            # Security: one that is misspelled must not leave the container unconfined.
            remedy = f"known are {', '.join(known)}"
            problems.append(Problem(where, "is not an annotation of Landlock's", remedy))
            continue
        try:
            value = parse(os.fsencode(text), annotation)
        except SpecError as error:
            problems.append(Problem(where, f"is not JSON: {error.problems[0]}"))
            continue
        if not isinstance(value, list):
            problems.append(Problem(where, "must be a list in JSON"))
            continue
        problems += [Problem(where, message) for message in _faults(name, value)]
        lists[name] = value
    if problems:
        raise SpecError(problems)
    return Landlock(lists)


def pointer_of(annotation: str) -> str:
    """Return the JSON pointer of `annotation`."""
    return f"/annotations/{escaped(annotation)}"


def _faults(name: str, members: list[Any]) -> Iterator[str]:
    """Return what is wrong with the members of org.ocirun.landlock.`name`."""
    for member in members:
        if name in PATHS:
            if not isinstance(member, str) or not member.startswith("/") or "\0" in member:
                yield f"{_shown(member)} is not an absolute path"
        elif name in PORTS:
            if type(member) is not int or not 0 <= member <= HIGHEST_PORT:
                yield f"{_shown(member)} is not a port: 0 to {HIGHEST_PORT}"
        elif member not in SCOPES:
            yield f"{_shown(member)} is not one of {', '.join(SCOPES)}"


def _shown(member: object) -> str:
    return quoted(member) if isinstance(member, str) else repr(member)
