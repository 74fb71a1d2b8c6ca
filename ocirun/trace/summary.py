"""A trace as a text: what took longest, who waited for whom."""

from __future__ import annotations

from ocirun.trace.spans import FLUSH

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from ocirun.trace.load import Item, Lane, Trace

SLOWEST: Final = 10
MAX_NAME: Final = 60
MAX_CALL: Final = 100


def summary(trace: Trace) -> str:
    """Return the summary of one trace, lines with line ends."""
    lanes = list(trace.lanes.values())
    items = [(lane, item) for lane in lanes for item in lane.items]
    calls = [(lane, item) for lane, item in items if item.kind == "syscall"]
    lines = [
        (
            f"{trace.title()}: {_ms(trace.duration())} ms, {_count(len(lanes), 'process', 'es')}, "
            f"{_count(len(trace.arrows), 'message')}, {_count(len(calls), 'system call')}"
        )
    ]
    lines += [f"  {_lane(lane)}" for lane in lanes]
    if trace.error:
        lines.append(f"It failed: {trace.error}")
    if not trace.is_complete:
        lines.append("The trace was cut off: its end is missing.")
    if trace.left_out:
        lines.append(f"{_count(trace.left_out, 'record')} could not be kept or read.")
    steps = [(lane, item) for lane, item in items if item.kind in ("step", "span")]
    lines += _table("Slowest steps, without what they wait for", _by_own_time(lanes), MAX_NAME)
    lines += _table("Slowest system calls", calls, MAX_CALL)
    failed = [(lane, item) for lane, item in steps if item.args.get("error")]
    lines += [f"Failed: {_lane(lane)}: {item.name}: {item.args['error']}" for lane, item in failed]
    return "\n".join(lines) + "\n"


def _by_own_time(lanes: list[Lane]) -> list[tuple[Lane, Item]]:
    """Return copies of the steps, whose durations leave out the steps inside of them."""
    from copy import copy

    found = []
    for lane in lanes:
        own = [copy(item) for item in lane.items]
        for item in lane.items:
            if item.inside >= 0 and item.kind in ("step", "span", "message"):
                own[item.inside].duration = max(0.0, own[item.inside].duration - item.duration)
        found += [
            (lane, item)
            for item in own
            if item.kind in ("step", "span") and item.name != FLUSH  # not the command's own
        ]
    return found


def _table(title: str, rows: list[tuple[Lane, Item]], width: int) -> list[str]:
    """Return the longest of `rows`, longest first."""
    slowest = sorted(rows, key=lambda row: -row[1].duration)[:SLOWEST]
    if not slowest:
        return []
    lines = ["", f"{title} (ms)"]
    for lane, item in slowest:
        text = str(item.args.get("call", item.name))
        text = text if len(text) <= width else text[: width - 1] + "…"
        lines.append(f"{_ms(item.duration):>9}  {lane.role:<7} {text}")
    return lines


def _lane(lane: Lane) -> str:
    text = f"{lane.role}: pid {lane.pid}"
    if lane.inner_pid not in (0, lane.pid):
        text += f" ({lane.inner_pid} in its pid namespace)"
    if lane.new_namespaces:
        text += f", namespaces of its own: {' '.join(lane.new_namespaces)}"
    return text


def _ms(us: float) -> str:
    return f"{us / 1000:.3f}"


def _count(number: int, noun: str, plural: str = "s") -> str:
    return f"{number} {noun}{'' if number == 1 else plural}"
