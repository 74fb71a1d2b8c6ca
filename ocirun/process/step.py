"""A row of the plan's table, and the step that it becomes.

    (wanted, "words for --debug", "module:function", "module that the function imports", …)

`wanted` decides whether the row is in the plan. The module of the function is one of
ocirun/process/steps; what it imports itself is named in full. Both are loaded with the plan.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ocirun.process.context import InitContext

    Act = Callable[[InitContext], None]


# Speed: what has been found by the targets' names. A helper finds a usual plan's before it clones.
_found: dict[str, Act] = {}


class Step:
    """One thing that init does, and the words for it."""

    __slots__ = ("act", "name")

    def __init__(self, name: str, act: Act) -> None:
        self.name = name
        self.act = act


if TYPE_CHECKING:
    # A step that needs more than its function stands in the table as it is.
    Row = tuple[Any, ...] | Step
    Rows = list[Row]


def steps_of(rows: Rows) -> list[Step]:
    """Return the steps of the rows that are wanted, and load what they need.

    Security: a function's own `from … import …` then finds its module loaded; after the seal it
    could not be loaded any more, least of all from inside the container.
    """
    steps = []
    for row in rows:
        if isinstance(row, Step):
            steps.append(row)
        elif row[0]:
            for module in row[3:]:
                __import__(module)
            steps.append(Step(row[1], _found.get(row[2]) or find(row[2])))
    return steps


def find(target: str) -> Act:
    """Return the function that "module:function" names."""
    module, _, function = target.partition(":")
    name = f"ocirun.process.steps.{module}"
    __import__(name)
    act: Act = getattr(sys.modules[name], function)
    _found[target] = act
    return act
