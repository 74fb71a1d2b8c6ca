"""Records to events, also of a process that somebody else has taken over.

Source: ocirun/trace/render.py, ocirun/trace/recorder.py.
"""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

from ocirun.trace import recorder as recording
from ocirun.trace.recorder import HEADER_BYTES, SLOT_BYTES, Recorder, _child_slot
from ocirun.trace.render import Renderer

BEGAN = 1_000_000_000


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


def child(recorder: Recorder, *lines: bytes) -> None:
    """Write records as the first process that the command has cloned."""
    recorder.record("k", 1, 4321, BEGAN)
    recorder.slot = 1
    data = b"".join(line + b"\n" for line in lines)
    recorder._memory[HEADER_BYTES : HEADER_BYTES + len(data)] = data
    recorder._memory[:8] = len(data).to_bytes(8, "little")
    recorder.slot = 0


def events_of(recorder: Recorder) -> tuple[list[dict[str, Any]], Renderer]:
    renderer = Renderer(recorder, BEGAN, 99)
    return renderer.close(BEGAN + 5000), renderer


def test_what_a_clone_writes_is_read_by_the_command(recorder: Recorder) -> None:
    slot = recorder.next_slot()
    pid = os.fork()
    if pid == 0:
        recorder.become(slot)
        recorder.record("b", BEGAN, "step", "mount proc on /proc", {"function": "x"})
        os._exit(0)
    os.waitpid(pid, 0)
    recorder.record("k", slot, pid, BEGAN)
    events, _ = events_of(recorder)
    begun = next(event for event in events if event["ph"] == "B")
    assert (begun["name"], begun["pid"]) == ("mount proc on /proc", pid)
    assert [event["pid"] for event in events if event["ph"] == "E"] == [pid]


def test_slots_of_all_processes_differ() -> None:
    first = [_child_slot(0, count) for count in range(1, 6)]
    second = [_child_slot(parent, count) for parent in first[:4] for count in range(1, 4)]
    slots = [slot for slot in (*first, *second) if slot > 0]
    assert sorted(slots) == list(range(1, recording.SLOTS))
    assert first[-1] == -1
    assert _child_slot(recording.SLOTS - 1, 1) == -1


def test_records_that_find_no_room_are_counted(recorder: Recorder) -> None:
    recorder.become(1)
    for _ in range(2 * SLOT_BYTES // 1000):
        recorder.record("b", BEGAN, "step", "x" * 1000, {})
    recorder.slot = 0
    lines, left_out = recorder.read_slot(1)
    assert all(json.loads(line) for line in lines)
    assert left_out > 400
    assert sum(map(len, lines)) < SLOT_BYTES


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[]",
        b'["c","sys_fsopen","now",2,3,0,[],""]',
        b'["c","no_such_call",1,2,3,0,[],""]',
        b'["c","sys_clone3",1,2,3,0,[{}],""]',
        b'["e",1,""]',
        b'["b",-5,"step","x",{}]',
        b'["b",99999999999999999999999999,"step","x",{}]',
        b'["k",0,1,1]',
        b'["k",99999,1,1]',
        b'["c","os.execve",1,2,3,99999999999999999999,[],""]',
        b"[" * 10000,
    ],
)
def test_a_record_of_another_form_changes_nothing_else(recorder: Recorder, line: bytes) -> None:
    child(recorder, line, b'["b",1000000500,"step","good",{"function":"f","place":"p:1"}]')
    events, renderer = events_of(recorder)
    assert [event["name"] for event in events if event["ph"] == "B"] == ["good"]
    assert [event["ph"] for event in events].count("E") == 1
    assert renderer.left_out() <= 1
    json.dumps(events, allow_nan=False)


def test_a_name_that_is_no_text_is_no_error(recorder: Recorder) -> None:
    recorder.record("b", BEGAN, "step", "mount \udcff on \ud800", {"function": "f"})
    events, renderer = events_of(recorder)
    assert [event["name"] for event in events if event["ph"] == "B"] == ["mount ? on ?"]
    assert renderer.left_out() == 0


def test_a_length_that_is_a_lie_is_not_believed(recorder: Recorder) -> None:
    recorder.record("k", 1, 4321, BEGAN)
    recorder._memory[:16] = b"\xff" * 16
    events, _ = events_of(recorder)
    assert events


def test_a_message_is_an_arrow_when_both_ends_are_known(recorder: Recorder) -> None:
    recorder.record("m", "send", "procRun", BEGAN, BEGAN + 10, 0, "")
    recorder.record("m", "send", "procResume", BEGAN + 20, BEGAN + 30, 0, "")
    child(recorder, b'["m","receive","procRun",1000000005,1000000040,0,""]')
    events, _ = events_of(recorder)
    arrows = [(event["ph"], event["name"], event["pid"]) for event in events if "id" in event]
    assert arrows == [("s", "procRun", 99), ("f", "procRun", 4321)]


def test_execve_ends_when_the_parent_knows_of_it(recorder: Recorder) -> None:
    span = {"function": "container.start:pass_gate", "place": ""}
    recorder.record("b", BEGAN, "span", "open the gate", span)
    recorder.record("e", BEGAN + 3000, "")
    child(recorder, b'["x","os.execve",1000001000,["/bin/sh",["sh"],2],""]')
    events, _ = events_of(recorder)
    (execve,) = [event for event in events if event.get("name") == "execve"]
    assert (execve["ts"], execve["dur"]) == (1.0, 2.0)
    assert execve["args"]["call"] == 'execve(path="/bin/sh", args=["sh"], env=(2 variables))'
