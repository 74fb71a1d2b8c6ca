"""Five sets of capabilities in config.json, one in the other formats: the bounding set.

Source: runtime-spec config.md#linux-process; capabilities(7).
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirun.convert.rest import Document, Rest

SAME = ("bounding", "effective", "permitted")


def take_one_set(rest: Rest) -> list[str] | None:
    """Take the bounding set, and those that are equal to it; None where nothing is said."""
    sets = rest.take("process", "capabilities")
    if sets is None:
        return None
    bounding = sorted(sets.get("bounding") or [])
    left = {
        name: values
        for name, values in sets.items()
        if (sorted(values or []) != bounding if name in SAME else values)
    }
    if left:
        rest.put(left, "process", "capabilities")
    return bounding


def sets_of(names: list[str]) -> Document:
    """Return the sets of a program that may use `names`, and nothing beyond them."""
    return {name: sorted(names) for name in SAME}
