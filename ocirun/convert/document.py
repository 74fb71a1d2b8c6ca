"""A document whose members are taken one by one; the rest has no counterpart."""

from __future__ import annotations

from copy import deepcopy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    Document = dict[str, Any]


class Rest:
    """A copy of a JSON object: `take` removes and returns a member, `names` lists the rest.

    So nothing is dropped silently: members that a writer does not take are listed.
    """

    __slots__ = ("document",)

    def __init__(self, document: Document) -> None:
        self.document = deepcopy(document)

    def take(self, *path: str) -> Any:  # noqa: ANN401  # JSON
        """Remove and return the member at `path`; None if it is absent."""
        *parents, last = path
        place: Any = self.document
        for name in parents:
            place = place.get(name)
            if not isinstance(place, dict):
                return None
        return place.pop(last, None)

    def put(self, value: object, *path: str) -> None:
        """Put `value` back at `path`, whose parents exist: it has no counterpart after all."""
        *parents, last = path
        place: Any = self.document
        for name in parents:
            place = place[name]
        place[last] = value

    def names(self) -> list[str]:
        """Return the dotted names of the remaining non-empty members, sorted."""
        return sorted(_names(self.document, ""))


def _names(place: Document, prefix: str) -> Iterator[str]:
    for name, value in place.items():
        if isinstance(value, dict):
            yield from _names(value, f"{prefix}{name}.")
        elif value or (value == 0 and value is not False):
            yield prefix + name
