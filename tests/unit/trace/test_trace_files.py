"""Which files a trace or a page may be written to, and what is read again.

Source: ocirun/trace/files.py, ocirun/trace/load.py, ocirun/trace/page.py.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from ocirun.errors import OcirunError, UsageError
from ocirun.trace.files import OutputFile
from ocirun.trace.load import Trace, load
from ocirun.trace.page import render
from ocirun.trace.session import BEGINS
from ocirun.trace.summary import summary

HOSTILE = "</script><script>alert(1)</script>\x1b[31m\u2028@DATA@"


def lines(**first: Any) -> list[dict[str, Any]]:  # noqa: ANN401
    args = {"format": 1, "verb": "run", "arguments": ["web"], "epoch_ns": str(10**18), **first}
    common = {"pid": 7, "tid": 7}
    return [
        {"name": "ocirun_trace", "ph": "M", "ts": 0, **common, "args": args},
        {"ph": "B", "ts": 1, **common, "name": "outer", "cat": "step", "args": {"file": "f"}},
        {"ph": "X", "ts": 2, "dur": 3, **common, "name": "fsopen", "cat": "syscall",
         "args": {"call": "fsopen()"}},
        {"ph": "E", "ts": 9, **common, "args": {"error": "no"}},
        {"ph": "M", "ts": 0, **common, "name": "process_name", "args": {"role": "init", "pid": 1}},
        {"name": "ocirun_end", "ph": "M", "ts": 0, **common, "args": {"left_out": 0}},
    ]  # fmt: skip


def write(folder: Path, events: list[dict[str, Any]], cut: int = 0) -> str:
    text = (
        "[\n" + ",\n".join(json.dumps(event, separators=(",", ":")) for event in events) + "\n]\n"
    )
    place = folder / "trace.json"
    place.write_text(text[: len(text) - cut])
    return str(place)


class TestOutputFile:
    def test_a_new_file_is_its_owners_alone(self, tmp_path: Path) -> None:
        file = OutputFile(str(tmp_path / "t"), BEGINS)
        file.append(b"one")
        file.append(b"two")
        assert (tmp_path / "t").read_bytes() == b"onetwo"
        assert (tmp_path / "t").stat().st_mode & 0o777 == 0o600

    def test_an_earlier_trace_and_an_empty_file_are_overwritten(self, tmp_path: Path) -> None:
        for text in (BEGINS + b",old", b""):
            (tmp_path / "t").write_bytes(text)
            OutputFile(str(tmp_path / "t"), BEGINS).append(b"new")
            assert (tmp_path / "t").read_bytes() == b"new"

    @pytest.mark.parametrize("what", ["other", "link", "hard link", "fifo", "folder", "device"])
    def test_nothing_else_is_opened(self, tmp_path: Path, what: str) -> None:
        place, victim = tmp_path / "t", tmp_path / "victim"
        victim.write_bytes(BEGINS + b"kept")
        match what:
            case "other":
                place.write_text("my notes")
            case "link":
                place.symlink_to(victim)
            case "hard link":
                place.hardlink_to(victim)
            case "fifo":
                os.mkfifo(place)
            case "folder":
                place.mkdir()
            case "device":
                place = Path("/dev/null")
        with pytest.raises(UsageError, match=rf"^open {place}: "):
            OutputFile(str(place), BEGINS)
        assert victim.read_bytes() == BEGINS + b"kept"
        assert what != "other" or place.read_text() == "my notes"

    def test_a_file_that_took_its_place_is_left_alone(self, tmp_path: Path) -> None:
        file = OutputFile(str(tmp_path / "t"), BEGINS)
        (tmp_path / "t").unlink()
        (tmp_path / "t").write_text("somebody's")
        with pytest.raises(OSError, match="taken its place"):
            file.append(b"data")
        assert (tmp_path / "t").read_text() == "somebody's"


class TestLoad:
    def test_steps_have_their_calls(self, tmp_path: Path) -> None:
        trace = load(write(tmp_path, lines()))
        outer, call = trace.lanes[7].items
        assert (outer.duration, outer.args["error"], call.inside) == (8.0, "no", 0)
        assert trace.is_complete
        assert trace.left_out == 0

    @pytest.mark.parametrize("cut", [3, 50, 130, 300])
    def test_what_was_cut_off_is_said(self, tmp_path: Path, cut: int) -> None:
        trace = load(write(tmp_path, lines(), cut))
        assert trace.is_complete == (cut == 3)
        assert ("cut off" in summary(trace)) == (cut != 3)
        assert render([trace])

    @pytest.mark.parametrize(
        "text",
        [b"", b"[", b"{}", b"\0" * 100, b"[1,2]", b'{"traceEvents":[]}', b"[\n[[[[", b"\x7fELF"],
    )
    def test_another_file_is_refused_in_one_sentence(self, tmp_path: Path, text: bytes) -> None:
        (tmp_path / "t").write_bytes(text)
        with pytest.raises(OcirunError, match=r"not a file that ocirun --trace has written$"):
            load(str(tmp_path / "t"))

    def test_a_missing_file_and_a_folder_are_named(self, tmp_path: Path) -> None:
        for place, why in ((tmp_path / "none", "no such file"), (tmp_path, "is a directory")):
            with pytest.raises(OcirunError, match=f"^trace {place}: {why}"):
                load(str(place))

    @pytest.mark.parametrize(
        "event",
        [
            {"ph": "X", "ts": 1e300, "dur": 1, "pid": 7, "name": "x", "cat": "step"},
            {"ph": "X", "ts": 1, "dur": "long", "pid": 7, "name": "x", "cat": "step"},
            {"ph": "B", "ts": 1, "pid": -1, "name": "x", "cat": "step"},
            {"ph": "B", "ts": 1, "pid": 7, "name": "x", "cat": "__proto__"},
            {"ph": "E", "ts": 1, "pid": 7},
            {"ph": "i", "ts": 1, "pid": 7, "args": []},
            {"ph": "s"},
            {},
        ],
    )
    def test_an_event_that_is_none_is_counted(self, tmp_path: Path, event: dict[str, Any]) -> None:
        trace = load(write(tmp_path, [*lines(), event]))
        assert trace.left_out == 1
        assert "1 record could not be kept or read" in summary(trace)


class TestPage:
    def hostile(self, folder: Path) -> Trace:
        events = lines(verb=HOSTILE, arguments=[HOSTILE])
        for event in events[1:]:
            event["name"] = HOSTILE if event["ph"] in "BX" else event.get("name")
            event["args"] = {**event["args"], "call": HOSTILE, "file": HOSTILE, "error": HOSTILE}
        return load(write(folder, events))

    def test_nothing_of_a_trace_becomes_markup(self, tmp_path: Path) -> None:
        page = render([self.hostile(tmp_path)])
        assert page.count("<script") == page.count("</script>") == 2
        assert "alert(1)</script" not in page
        assert "default-src 'none'" in page

    def test_its_data_are_the_traces(self, tmp_path: Path) -> None:
        page = render([self.hostile(tmp_path)])
        text = page.split('id="data">')[1].split("</script>")[0]
        (lane,) = json.loads(text)["lanes"]
        assert lane["items"][0][1].startswith("</script><script>alert(1)")

    def test_it_asks_for_nothing_from_a_network(self, tmp_path: Path) -> None:
        page = render([load(write(tmp_path, lines()))])
        for sign in ("src=", "@import", "url(", "fetch(", "XMLHttpRequest", "<link"):
            assert sign not in page.split('id="data">')[0].replace("default-src=", "")

    def test_a_terminal_obeys_nothing_of_the_summary(self, tmp_path: Path) -> None:
        assert "\x1b" not in summary(self.hostile(tmp_path))
