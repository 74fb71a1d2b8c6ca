"""Read traces: lines of a file to lanes of spans, system calls, messages.

Security: a trace may come from anywhere. What is not as `--trace` writes it is left out and
counted; nothing of it is trusted to be short, printable or a number in range.

Source: ocirun/trace/render.py.
"""

from __future__ import annotations

from ocirun.errors import OcirunError, SpecError, kernel_words
from ocirun.kernel.regular_files import read_document
from ocirun.spec.jsontext import parse, printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    Event = dict[str, Any]

MAX_BYTES: Final = 64 << 20
MAX_EVENTS: Final = 400_000
MAX_TEXT: Final = 2000  # characters
MAX_US: Final = 1e13  # four months
KINDS: Final = ("span", "step", "syscall", "message")


class Item:
    """A span, a step, a system call or a message, of one lane; times in µs.

    `inside` is the index of the span around it in the lane's items, -1 for none.
    """

    __slots__ = ("args", "begin", "depth", "duration", "inside", "kind", "name")

    def __init__(self, kind: str, name: str, begin: float, args: Event, inside: int) -> None:
        self.kind = kind
        self.name = name
        self.begin = begin
        self.duration = 0.0
        self.args = args
        self.inside = inside
        self.depth = 0


class Lane:
    """One process: its items in order of their beginning."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.role = "process"
        self.inner_pid = 0
        self.namespaces: dict[str, str] = {}
        self.new_namespaces: list[str] = []
        self.items: list[Item] = []
        self.open: list[int] = []


class Trace:
    """One recorded command; `epoch_ns` is when it began."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.verb = ""
        self.arguments: list[str] = []
        self.epoch_ns = 0
        self.error = ""
        self.left_out = 0
        self.is_complete = False
        self.lanes: dict[int, Lane] = {}
        self.arrows: dict[str, Event] = {}

    def title(self) -> str:
        """Return the command, as far as it was recorded."""
        return " ".join(["ocirun", self.verb, *self.arguments])

    def duration(self) -> float:
        """Return when the last item ended, in µs."""
        ends = [item.begin + item.duration for lane in self.lanes.values() for item in lane.items]
        return max(ends, default=0.0)


def load(path: str) -> Trace:
    """Return the trace in the file `path`.

    Raises:
        OcirunError: it cannot be read, or is not a trace of ocirun.
    """
    try:
        data = read_document(path, MAX_BYTES)
    except OSError as error:
        raise OcirunError(f"trace {printable(path)}: {kernel_words(error)}") from error
    if len(data) > MAX_BYTES:
        raise OcirunError(f"trace {printable(path)}: larger than {MAX_BYTES >> 20} MiB")
    trace = Trace(path)
    events = _events(data, trace)
    if not events or not _read_first(trace, events[0]):
        raise OcirunError(f"trace {printable(path)}: not a file that ocirun --trace has written")
    for event in events[1:]:
        try:
            _take(trace, event)
        except (KeyError, TypeError, ValueError):
            trace.left_out += 1
    for lane in trace.lanes.values():
        _end(lane)
    return trace


def _events(data: bytes, trace: Trace) -> list[Event]:
    """Return the objects in `data`, a line each; what was cut off or damaged is counted."""
    events: list[Event] = []
    for line in data.splitlines():
        text = line.strip().strip(b",")
        if text in (b"[", b"]", b""):
            continue
        if len(events) >= MAX_EVENTS:
            trace.left_out += 1
            continue
        try:
            event = parse(text, "event")
        except SpecError:
            event = None
        if isinstance(event, dict):
            events.append(event)
        elif not events:
            break  # not ours from the beginning
        else:
            trace.left_out += 1
    return events


def _read_first(trace: Trace, event: Event) -> bool:
    args = event.get("args")
    if event.get("name") != "ocirun_trace" or not isinstance(args, dict):
        return False
    trace.verb = _text(args.get("verb"))
    arguments = args.get("arguments")
    trace.arguments = [_text(word) for word in arguments] if isinstance(arguments, list) else []
    epoch = _text(args.get("epoch_ns"))
    trace.epoch_ns = int(epoch) if epoch.isascii() and epoch.isdigit() and len(epoch) < 20 else 0
    return True


def _take(trace: Trace, event: Event) -> None:
    kind = event["ph"]
    args = event.get("args", {})
    if not isinstance(args, dict):
        raise TypeError("args")
    if kind in ("s", "f"):
        _arrow(trace, event)
        return
    if event.get("name") == "ocirun_end":
        trace.is_complete = True
        trace.error = _text(args.get("error"))
        trace.left_out += _whole(args.get("left_out"))
        return
    pid = event["pid"]
    if not isinstance(pid, int) or not 0 <= pid < 1 << 32:
        raise TypeError("pid")
    lane = trace.lanes.setdefault(pid, Lane(pid))
    if kind == "M":
        if event["name"] == "process_name":
            lane.role = _text(args.get("role"))
            lane.inner_pid = _whole(args.get("pid"))
    elif kind == "i":
        other = args.pop("not_the_hosts", [])
        lane.namespaces = {_text(name): _text(number) for name, number in args.items()}
        lane.new_namespaces = [_text(name) for name in other] if isinstance(other, list) else []
    elif kind == "B":
        lane.items.append(_item(event, args, lane))
        lane.open.append(len(lane.items) - 1)
    elif kind == "E":
        item = lane.items[lane.open.pop()] if lane.open else None
        if item is None:
            raise ValueError("the end of nothing")
        item.duration = max(0.0, _time(event["ts"]) - item.begin)
        item.args.update({name: _text(value) for name, value in args.items()})
    elif kind == "X":
        item = _item(event, args, lane)
        item.duration = _time(event["dur"])
        lane.items.append(item)
    else:
        raise ValueError("another kind")


def _item(event: Event, args: Event, lane: Lane) -> Item:
    category = event["cat"]
    if category not in KINDS:
        raise ValueError("another category")
    inside = lane.open[-1] if lane.open else -1
    kept = {_text(name): _value(value) for name, value in args.items()}
    item = Item(category, _text(event["name"]), _time(event["ts"]), kept, inside)
    item.depth = len(lane.open)
    return item


def _arrow(trace: Trace, event: Event) -> None:
    number = _text(event["id"])
    arrow = trace.arrows.setdefault(number, {"name": _text(event["name"])})
    arrow[event["ph"]] = (_whole(event["pid"]), _time(event["ts"]))


def _end(lane: Lane) -> None:
    """End what a trace that was cut off has left open."""
    last = max((item.begin + item.duration for item in lane.items), default=0.0)
    for index in lane.open:
        item = lane.items[index]
        item.duration = max(0.0, last - item.begin)
        item.args["ended"] = "the trace was cut off here"


def _text(value: object) -> str:
    """Return a string of the trace, cut, and without what a terminal would obey."""
    text = value if isinstance(value, str) else "" if value is None else str(value)[:MAX_TEXT]
    return printable(text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…")


def _value(value: object) -> object:
    if isinstance(value, list):
        return [_text(word) for word in value[:100]]
    return value if isinstance(value, int) and not isinstance(value, bool) else _text(value)


def _whole(value: object) -> int:
    return value if isinstance(value, int) and 0 <= value < 1 << 53 else 0


def _time(value: object) -> float:
    if not isinstance(value, int | float) or not -MAX_US < value < MAX_US:
        raise ValueError("no time")
    return float(value)
