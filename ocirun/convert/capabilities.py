"""Convert between config.json's five capability sets and the one list of other formats.

Source: runtime-spec config.md#linux-process; capabilities(7).
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirun.convert.document import Document, Rest

SAME = ("bounding", "effective", "permitted")


def take_one_set(rest: Rest) -> list[str] | None:
    """Take and return the bounding set, and drop the sets equal to it; None if it is absent."""
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
    """Return process.capabilities for a program with exactly the capabilities `names`."""
    return {name: sorted(names) for name in SAME}
