"""Raw records to events of the Trace Event Format, which Perfetto and chrome://tracing open.

Each process is a lane. Steps and spans are B and E events, system calls and messages X, an arrow
from a message that is sent to the one that is received is a pair of s and f; M events name the
lanes. Times are microseconds since the command began.

Security: records of init are what a container may have had a hand in. What has another form than
recorder.py writes is counted and left out.

Source: perfetto.dev/docs, "JSON Trace Format"; ocirun/trace/recorder.py.
"""

from __future__ import annotations

import os
from errno import errorcode

from ocirun.errors import SpecError
from ocirun.spec.jsontext import parse
from ocirun.trace.describe import Describer
from ocirun.trace.recorder import SLOTS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    from ocirun.trace.recorder import Recorder

    Event = dict[str, Any]

MAX_LINE: Final = 64 << 10
MAX_TIME: Final = 1 << 62
# When these end, the program runs: whoever called them has seen init's descriptors close.
BECOMES_PROGRAM: Final = (
    "container.start:pass_gate",
    "process.exec_parent:ExecParent.resume",
)
EXECVE: Final = "os.execve"


class Process:
    """One lane: a process, what is open in it, and what it has begun and not ended."""

    def __init__(self, slot: int, pid: int, fds: dict[int, str]) -> None:
        self.slot = slot
        self.pid = pid
        self.describer = Describer(dict(fds))
        self.read = 0
        self.open: list[str] = []  # functions of the spans that have begun
        self.last: tuple[str, int, list[Any], str] | None = None  # a call that may not return
        self.inner_pid = 0
        self.namespaces: dict[str, int] = {}
        self.messages: list[str] = []
        self.left_out = 0


class Renderer:
    """Turns the records of a command and of the processes it cloned into events."""

    def __init__(self, recorder: Recorder, began: int, pid: int) -> None:
        self._recorder = recorder
        self._began = began
        self._processes = {0: Process(0, pid, {0: "stdin", 1: "stdout", 2: "stderr"})}
        self._events: list[Event] = []
        self._flows: dict[tuple[str, str], list[Event]] = {}
        self._drawn: dict[str, int] = {}
        self._program_runs = 0
        self.unreadable = 0

    def feed(self) -> list[Event]:
        """Return the events of what has been recorded since the last call."""
        for slot in range(SLOTS):  # those of parents come before those of their children
            process = self._processes.get(slot)
            if process is None:
                continue
            lines, process.left_out = self._recorder.read_slot(slot)
            for line in lines[process.read :]:
                self._take(process, line)
            process.read = len(lines)
        if self._program_runs:
            for process in self._processes.values():
                if process.last and process.last[0] == EXECVE:
                    self._close(process, self._program_runs)
        self._draw_arrows()
        events, self._events = self._events, []
        return events

    def close(self, end: int) -> list[Event]:
        """Return the last events: ends of what is still open, and the names of the lanes."""
        events = self.feed()
        for process in self._processes.values():
            self._close(process, end)
            self._name(process)
        events += self._events
        self._events = []
        return events

    def left_out(self) -> int:
        """Return how many records there was no room for, or that could not be read."""
        return self.unreadable + sum(process.left_out for process in self._processes.values())

    def _take(self, process: Process, line: bytes) -> None:
        try:
            self._read(process, parse(line[:MAX_LINE], "record", "surrogateescape"))
        except (SpecError, ValueError, TypeError, OverflowError):
            self.unreadable += 1

    def _read(self, process: Process, record: Any) -> None:  # noqa: ANN401  # parsed JSON
        match record:
            case ["c", str(_), int(_), int(_), _, int(_), list(_), str(_)]:
                self._call(process, record)
            case ["x", str(call), int(begin), list(args), str(place)]:
                process.last = (call, begin, args, place)
            case ["b", int(begin), str(category), str(name), dict(details)]:
                place = str(details.pop("place", ""))
                details["file"] = file_of(place)
                self._add(process, "B", begin, name=name, cat=category, args=details)
                process.open.append(str(details.get("function")))
            case ["e", int(end), str(error)]:
                self._end(process, end, {"error": error} if error else {})
            case ["m", str(_), str(_), int(_), int(_), int(_), str(_)]:
                self._message(process, record)
            case ["p", int(time), int(pid), dict(numbers)]:
                process.inner_pid = pid
                self._enter(process, time, numbers)
            case ["n", int(time), dict(numbers)]:
                self._enter(process, time, numbers)
            case ["k", int(slot), int(pid), int(_)]:
                if process.slot < slot < SLOTS and slot not in self._processes:
                    self._processes[slot] = Process(slot, pid, process.describer.fds)
            case _:
                raise ValueError("not a record")

    def _call(self, process: Process, record: list[Any]) -> None:
        _, call, begin, end, result, errno, arguments, place = record
        process.last = None
        name, text = process.describer.describe(call, arguments, result, failed=bool(errno))
        args: dict[str, Any] = {"call": text, "file": file_of(place)}
        if errno:
            args["error"] = f"{errorcode.get(errno, errno)}: {os.strerror(errno & 0xFFFF)}"
        self._add_complete(process, (begin, end), name, "syscall", args)

    def _message(self, process: Process, record: list[Any]) -> None:
        _, verb, name, begin, end, count, error = record
        sends = verb == "send"
        args: dict[str, Any] = {"message": name, "descriptors": count}
        if error:
            args["error"] = error
        label = f"send {name}" if sends else f"wait for {name}"
        self._add_complete(process, (begin, end), label, "message", args)
        if error:
            return
        process.messages.append(f"{verb} {name}")
        # Inside of the slices of the message: at the beginning of sending, the end of waiting.
        time = begin if sends else max(begin, end - 1)
        flow = {"ph": "s" if sends else "f", "ts": self._time(time), "pid": process.pid}
        self._flows.setdefault((name, "s" if sends else "f"), []).append(flow)

    def _draw_arrows(self) -> None:
        """Add arrows for the messages of which both ends are known."""
        for name in {name for name, _ in self._flows}:
            sent = self._flows.get((name, "s"), [])
            received = self._flows.get((name, "f"), [])
            while sent and received:
                number = self._drawn[name] = self._drawn.get(name, 0) + 1
                common = {"name": name, "cat": "message", "id": f"{self._began}.{name}.{number}"}
                for flow in (sent.pop(0), received.pop(0)):
                    event = {**flow, **common, "tid": flow["pid"]}
                    self._events.append({**event, "bp": "e"} if flow["ph"] == "f" else event)

    def _enter(self, process: Process, time: int, numbers: dict[str, Any]) -> None:
        """Show the namespaces that a process is in; new to it, if the command's are others."""
        found = {key: number for key, number in numbers.items() if isinstance(number, int)}
        process.namespaces = found
        own = self._processes[0].namespaces
        other = sorted(key for key, number in found.items() if own and own.get(key) != number)
        args = {**{key: str(number) for key, number in found.items()}, "not_the_hosts": other}
        self._add(process, "i", time, name="namespaces", cat="namespaces", s="t", args=args)

    def _end(self, process: Process, end: int, args: dict[str, Any]) -> None:
        if not process.open:
            raise ValueError("the end of nothing")
        self._add(process, "E", end, args=args)
        # Security: init does not decide when it has become its program.
        if process.open.pop() in BECOMES_PROGRAM and not args and process.slot == 0:
            self._program_runs = end

    def _close(self, process: Process, end: int) -> None:
        """End what a process has begun: it became its program, has ended, or was killed."""
        how = "the trace ends here"
        if process.last:
            call, begin, arguments, place = process.last
            process.last = None
            end = max(begin, end) if call == EXECVE else begin
            how = "the process became its program" if call == EXECVE else "the process exited"
            name, text = process.describer.describe(call, arguments, None, failed=False)
            args = {"call": text, "file": file_of(place)}
            self._add_complete(process, (begin, end), name, "syscall", args)
        while process.open:
            process.open.pop()
            self._add(process, "E", end, args={"ended": how})

    def _name(self, process: Process) -> None:
        role = role_of(process)
        args = {"name": f"{role} {process.pid}", "role": role, "pid": process.inner_pid}
        self._meta(process, "process_name", args)
        self._meta(process, "process_sort_index", {"sort_index": process.slot})
        self._meta(process, "thread_name", {"name": role})

    def _meta(self, process: Process, name: str, args: dict[str, Any]) -> None:
        self._add(process, "M", self._began, name=name, args=args)

    def _add_complete(
        self,
        process: Process,
        times: tuple[int, int],
        name: str,
        category: str,
        args: dict[str, Any],
    ) -> None:
        duration = round(max(0, times[1] - times[0]) / 1000, 3)
        self._add(process, "X", times[0], dur=duration, name=name, cat=category, args=args)

    def _add(self, process: Process, kind: str, time: int, **members: object) -> None:
        event = {"ph": kind, "ts": self._time(time), "pid": process.pid, "tid": process.pid}
        self._events.append({**event, **members})

    def _time(self, time: int) -> float:
        if not 0 <= time < MAX_TIME:
            raise ValueError("no time")
        return round((time - self._began) / 1000, 3)


def role_of(process: Process) -> str:
    """Return what a process is: "parent", "init", "stage" or "child"."""
    if process.slot == 0:
        return "parent"
    if "receive sendConfig" in process.messages or "send procReady" in process.messages:
        return "init"
    return "stage" if "receive bootstrapData" in process.messages else "child"


def file_of(place: str) -> str:
    """Return "ocirun/rootfs/mounts.py:12" for a file and line as code objects name them."""
    name, _, line = place.rpartition(":")
    if name.startswith("<frozen "):
        name = name[len("<frozen ") :].rstrip(">").replace(".", "/") + ".py"
    elif "/ocirun/" in name:
        name = "ocirun/" + name.rpartition("/ocirun/")[2]
    return f"{name}:{line}"
