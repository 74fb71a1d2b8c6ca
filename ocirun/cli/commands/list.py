"""`ocirun list`: the containers of one root."""

from __future__ import annotations

import os

from ocirun.cli.output import write
from ocirun.errors import UsageError, doing, warn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Final

    from ocirun.cli.call import Call

COLUMNS: Final = ("id", "pid", "status", "bundle", "created", "owner")
MIN_WIDTH: Final = 12
PADDING: Final = 3


def run(call: Call) -> int:
    """Print ids, a table, or JSON."""
    if call.settings["root"]:
        # Only the default root may be missing: nobody has made a container yet.
        with doing(f"open {call.settings['root']}"):
            os.stat(str(call.settings["root"]))
    form = call.text("format")
    if call.flag("quiet"):
        write("".join(f"{name}\n" for name in call.store().recorded_ids()))
    elif form == "table":
        write(table(_states(call)))
    elif form == "json":
        from ocirun.spec.jsontext import compact

        write(compact(_states(call) or None) + "\n")
    else:
        raise UsageError("invalid format option")
    return 0


def _states(call: Call) -> list[dict[str, object]]:
    from ocirun.container.state import list_states

    states, broken = list_states(call.store())
    for failure in broken:
        warn(str(failure))
    return states


def table(states: Sequence[Mapping[str, object]]) -> str:
    """Return the table as Go's tabwriter lays it out: cells of at least 12, 3 blanks between."""
    rows = [[name.upper() for name in COLUMNS]]
    rows += [[str(state.get(name, "")) for name in COLUMNS] for state in states]
    widths = [
        max(MIN_WIDTH, max(len(row[at]) for row in rows) + PADDING)
        for at in range(len(COLUMNS) - 1)
    ]
    return "".join(
        "".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False))
        + row[-1]
        + "\n"
        for row in rows
    )
