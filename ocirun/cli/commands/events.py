"""`ocirun events`: what a container uses, and when its memory runs out, as JSON lines."""

from __future__ import annotations

from ocirun.cli.duration import nanoseconds
from ocirun.cli.output import write
from ocirun.container.events import check_interval, events
from ocirun.container.stats import for_json, stats_of
from ocirun.spec.jsontext import compact

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from ocirun.cli.call import Call

STDOUT: Final = 1


def run(call: Call) -> int:
    """Print one line with --stats, else lines until the container stops or stdout is closed."""
    interval_ns = nanoseconds(call.text("interval"), "interval")
    store, container_id = call.store(), call.arguments[0]
    if interval_ns <= 0:
        call.check_container()
        check_interval(interval_ns)
    if call.flag("stats"):
        data = stats_of(store, container_id)
        _print({"type": "stats", "id": container_id, "data": data})
        return 0
    for event in events(store, container_id, interval_ns, listener=STDOUT):
        _print(event)
    return 0


def _print(event: dict[str, object]) -> None:
    data = event.get("data")
    write(compact({**event, "data": for_json(data)} if isinstance(data, dict) else event) + "\n")
