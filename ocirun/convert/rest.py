"""A document from which things are taken; what remains is what has no counterpart."""

from __future__ import annotations

from copy import deepcopy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    Document = dict[str, Any]


class Rest:
    """A copy of a JSON object: `take` removes and returns a member, `names` lists what is left.

    So nothing can be dropped in silence: what no line of a writer takes is listed.
    """

    __slots__ = ("document",)

    def __init__(self, document: Document) -> None:
        self.document = deepcopy(document)

    def take(self, *path: str) -> Any:  # noqa: ANN401  # JSON
        """Remove and return the member at `path`; None where there is none."""
        *parents, last = path
        place: Any = self.document
        for name in parents:
            place = place.get(name)
            if not isinstance(place, dict):
                return None
        return place.pop(last, None)

    def put(self, value: object, *path: str) -> None:
        """Put `value` back at `path`, whose parents are there: it could not be said after all."""
        *parents, last = path
        place: Any = self.document
        for name in parents:
            place = place[name]
        place[last] = value

    def names(self) -> list[str]:
        """Return the dotted names of what is left and says something, sorted."""
        return sorted(_names(self.document, ""))


def _names(place: Document, prefix: str) -> Iterator[str]:
    for name, value in place.items():
        if isinstance(value, dict):
            yield from _names(value, f"{prefix}{name}.")
        elif value or (value == 0 and value is not False):
            yield prefix + name
