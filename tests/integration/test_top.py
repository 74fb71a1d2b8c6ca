"""`top`: a live table in a terminal, and the same once for scripts.

Source: docs/stats.md.
"""
# ruff: noqa: ANN401  # documents are JSON

from __future__ import annotations

import os
import re
import signal
import termios
import time
from typing import Any

import pexpect
import pytest
from harness.box import Box, Container
from harness.needs import needs
from harness.runtime import Result

pytestmark = needs("root", "ours")

BUSY = "echo ready; while :; do :; done"
ALTERNATE, MAIN = "\x1b[?1049h", "\x1b[?1049l"  # the screen of programs, and that of the shell
SHOW_CURSOR = "\x1b[?25h"


def once(box: Box, *words: str) -> Result:
    return box.runtime.call("top", "--once", "--interval=300ms", *words)


def documents(box: Box, *words: str) -> Any:
    return once(box, "--format=json", *words).ok().json()


class Terminal:
    """`top` in a terminal of its own."""

    def __init__(self, box: Box, *words: str, columns: int = 130) -> None:
        argv = box.runtime.prepare("top", "--interval=100ms", *words).argv
        env = {**os.environ, "TERM": "xterm-256color"}
        env.pop("COLUMNS", None)
        self.child = pexpect.spawn(
            argv[0], argv[1:], timeout=10, dimensions=(20, columns), encoding="utf-8", env=env
        )
        self.modes = termios.tcgetattr(self.child.child_fd)

    def sees(self, *texts: str) -> None:
        for text in texts:
            self.child.expect_exact(text)

    def frame(self) -> str:
        """Return what is drawn between two beginnings of the table, without colours."""
        self.sees("CONTAINER")
        self.sees("CONTAINER")
        return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", str(self.child.before))

    def ended(self) -> str:
        """Read to the end and give what came; the terminal is as it was."""
        self.child.expect(pexpect.EOF)
        rest = str(self.child.before)
        assert termios.tcgetattr(self.child.child_fd) == self.modes
        self.child.close()
        assert MAIN in rest
        assert SHOW_CURSOR in rest
        return rest[rest.index(MAIN) + len(MAIN) :]


def busy(box: Box) -> Container:
    container = box.running(None, "sh", "-c", BUSY)
    container.wait_output("ready")
    return container


class TestOnce:
    """For scripts."""

    def test_json_has_each_containers_usage(self, box: Box) -> None:
        idle, spinning = box.running(), busy(box)
        found = {document["id"]: document for document in documents(box)}
        assert found.keys() == {idle.id, spinning.id}
        assert {document["status"] for document in found.values()} == {"running"}
        assert found[idle.id]["cpu"]["percent"] < 1
        assert found[spinning.id]["cpu"]["percent"] > 5
        assert found[spinning.id]["pids"]["current"] == 1
        assert found[idle.id]["memory"]["in_use"] > 0

    def test_the_table_has_a_row_for_each_container(self, box: Box) -> None:
        container = box.running()
        header, *rows = once(box).ok().stdout.splitlines()
        assert header.split()[:3] == ["CONTAINER", "STATUS", "CPU"]
        assert [row.split()[:2] for row in rows] == [[container.id, "running"]]
        assert {len(row.split()) for row in rows} == {len(header.split())}

    def test_only_those_that_run(self, box: Box) -> None:
        box.created()
        box.running().stop()
        paused = box.running()
        box.runtime.call("pause", paused.id).ok()
        assert [(d["id"], d["status"]) for d in documents(box)] == [(paused.id, "paused")]
        box.runtime.call("resume", paused.id).ok()

    def test_those_asked_for(self, box: Box) -> None:
        stopped, other = box.running(), box.running()
        box.running()
        stopped.stop()
        found = documents(box, other.id, stopped.id)
        assert [(d["id"], d["status"]) for d in found] == [
            (other.id, "running"),
            (stopped.id, "stopped"),
        ]

    def test_without_containers_only_the_header_is_printed(self, box: Box) -> None:
        assert documents(box) == []
        assert len(once(box).ok().stdout.splitlines()) == 1

    def test_a_damaged_record_hides_no_other(self, box: Box) -> None:
        container, damaged = box.running(), box.running()
        record = box.runtime.root / damaged.id / "state.json"
        text = record.read_bytes()
        record.write_bytes(b"\x1b[2J")
        try:
            assert [d["id"] for d in documents(box)] == [container.id]
            box.runtime.call("top", "--once", damaged.id).failed("state.json")
        finally:
            record.write_bytes(text)

    @pytest.mark.parametrize(
        ("words", "text"),
        [
            (("--once", "no-such"), "container does not exist"),
            (("--once", "../x"), "invalid container ID format"),
            (("--once", "--format=yaml"), "invalid format option"),
            (("--once", "--interval=0s"), "must be greater than 0"),
            (("--once", "--interval=often"), "parse error"),
            (("--format=json",), "--once"),
            ((), "--once"),
        ],
    )
    def test_what_is_refused(self, box: Box, words: tuple[str, ...], text: str) -> None:
        box.runtime.call("top", *words).failed(text)


class TestLive:
    """In a terminal."""

    def test_q_ends_it_and_gives_the_terminal_back(self, box: Box) -> None:
        container = busy(box)
        terminal = Terminal(box)
        terminal.sees(ALTERNATE, container.id)
        assert re.search(r"\d\d+\.\d%", terminal.frame() + terminal.frame())
        terminal.child.send("q")
        assert terminal.ended() == ""
        assert terminal.child.exitstatus == 0

    @pytest.mark.parametrize(
        ("number", "status"),
        [(signal.SIGINT, 0), (signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGQUIT, 131)],
    )
    def test_a_signal_ends_it_and_gives_the_terminal_back(
        self, box: Box, number: int, status: int
    ) -> None:
        box.running()
        terminal = Terminal(box)
        terminal.sees("CONTAINER")
        os.kill(terminal.child.pid, number)
        assert terminal.ended() == ""
        assert (terminal.child.exitstatus, terminal.child.signalstatus) == (status, None)

    def test_an_interrupt_from_the_keyboard(self, box: Box) -> None:
        terminal = Terminal(box)
        terminal.sees("no running containers")
        terminal.child.sendintr()
        assert terminal.ended() == ""
        assert terminal.child.exitstatus == 0

    def test_a_stop_key_does_not_leave_the_screen_behind(self, box: Box) -> None:
        terminal = Terminal(box)
        terminal.sees("no running containers")
        terminal.child.send("\x1a")
        terminal.frame()
        terminal.child.send("q")
        terminal.ended()

    def test_containers_come_and_go(self, box: Box) -> None:
        terminal = Terminal(box)
        terminal.sees("no running containers")
        container = box.running()
        terminal.sees(container.id)
        container.delete("--force").ok()
        terminal.sees("no running containers")
        terminal.child.send("q")
        terminal.ended()

    def test_one_asked_for_is_shown_when_it_stopped(self, box: Box) -> None:
        container = box.running()
        terminal = Terminal(box, container.id)
        terminal.sees("running")
        container.stop()
        terminal.sees("stopped")
        terminal.child.send("q")
        terminal.ended()

    def test_it_follows_the_size_of_the_terminal(self, box: Box) -> None:
        """Graphs go where there is no room; the size is that of the terminal, not of $COLUMNS."""
        box.running()
        terminal = Terminal(box, columns=130)
        terminal.sees("▁")
        terminal.child.setwinsize(20, 60)
        end = time.monotonic() + 10
        while widest(frame := terminal.frame()) > 60 or "▁" in frame:
            assert time.monotonic() < end, frame
        terminal.child.send("q")
        terminal.ended()

    def test_other_keys_do_nothing(self, box: Box) -> None:
        terminal = Terminal(box)
        terminal.sees("no running containers")
        terminal.child.send("xyz\x1b[A")
        terminal.frame()
        terminal.child.send("Q")
        assert terminal.ended() == ""

    def test_the_terminal_goes_away(self, box: Box) -> None:
        terminal = Terminal(box)
        terminal.sees("no running containers")
        os.close(terminal.child.child_fd)
        _, status = os.waitpid(terminal.child.pid, 0)
        assert os.WIFEXITED(status)
        terminal.child.terminated = True
        terminal.child.child_fd, terminal.child.closed = -1, True


def widest(frame: str) -> int:
    return max(len(line.rstrip("\r")) for line in frame.split("\n"))
