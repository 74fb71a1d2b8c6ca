"""A person at the caller's terminal: keys, sizes, jobs, and the terminal they get back.

Source: docs/runc-compat/protocols.md#foreground-mode; termios(3), pty(7).
"""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import termios
import time
from collections.abc import Generator
from typing import Any

import pexpect
import pytest
from harness.box import Box, Container
from harness.needs import needs
from harness.peers import peer_deviates
from harness.runtime import finish, wait_until
from harness.terminal import read_until, set_size

pytestmark = needs("root")

MEGABYTE = 1 << 20
FULL = f"head -c {MEGABYTE} /dev/zero | tr '\\0' x"
LFLAG = 3  # in what tcgetattr gives


def with_terminal(box: Box, *args: str, **process: Any) -> Container:  # noqa: ANN401
    return box.container(box.bundle(*args, terminal=True, **process))


class Seat:
    """A terminal of the host with the runtime in it as the session's leader."""

    def __init__(self) -> None:
        self.master, self.slave = os.openpty()
        set_size(self.slave, 24, 80)
        self.before = termios.tcgetattr(self.slave)

    @property
    def keys(self) -> dict[str, Any]:
        ends = dict.fromkeys(("stdin", "stdout", "stderr"), self.slave)
        return {**ends, "start_new_session": True}

    def is_raw(self) -> bool:
        return not termios.tcgetattr(self.slave)[LFLAG] & (termios.ICANON | termios.ECHO)

    def is_as_it_was(self) -> bool:
        return bool(termios.tcgetattr(self.slave) == self.before)

    def drain(self) -> bytes:
        """Read what is there."""
        seen = b""
        while select.select([self.master], [], [], 0.2)[0]:
            seen += os.read(self.master, 1 << 16)
        return seen

    def close(self) -> None:
        os.close(self.master)
        os.close(self.slave)


@pytest.fixture
def seat() -> Generator[Seat, None, None]:
    seat = Seat()
    yield seat
    seat.close()


def sit_down(container: Container, seat: Seat, *words: str) -> tuple[subprocess.Popen[bytes], Any]:
    """Run the container in the foreground, or with `words` a process in it, without waiting."""
    if words:
        return container.runtime.spawn("exec", "--tty", container.id, *words, **seat.keys)
    return container.runtime.spawn(
        *("run", "--bundle", container.bundle.path, container.id),
        bundle=container.bundle,
        **seat.keys,
    )


class TestKeys:
    """Every key is the container's."""

    def spawn(self, container: Container) -> pexpect.spawn[bytes]:
        call = container.runtime.prepare(
            "run", "--bundle", container.bundle.path, container.id, bundle=container.bundle
        )
        return pexpect.spawn(call.argv[0], call.argv[1:], timeout=10, dimensions=(24, 80))

    def test_control_z_stops_a_job_inside(self, box: Box) -> None:
        child = self.spawn(with_terminal(box, "sh"))
        child.expect("[#$] ")
        child.sendline("sleep 50")
        child.expect("sleep 50\r\n")
        for _ in range(10):  # the shell may not have begun to wait for it
            child.send(b"\x1a")
            if child.expect(["Stopped", pexpect.TIMEOUT], timeout=1) == 0:
                break
        child.sendline("kill -9 %1; echo still $((20+1))")
        child.expect("still 21")
        for _ in range(2):  # the first time it may say that there are stopped jobs
            child.sendline("exit 4")
        child.expect(pexpect.EOF)
        child.close()
        assert child.exitstatus == 4

    def test_control_d_is_the_end_of_input(self, box: Box) -> None:
        child = self.spawn(with_terminal(box, "cat"))
        child.sendline("a word")
        child.expect("a word\r\na word")
        child.send(b"\x04")
        child.expect(pexpect.EOF)
        child.close()
        assert child.exitstatus == 0

    def test_control_backslash_quits(self, box: Box) -> None:
        script = "trap 'echo quit; exit 7' QUIT; echo up; while :; do sleep 0.05; done"
        child = self.spawn(with_terminal(box, "sh", "-c", script))
        child.expect("up")
        child.send(b"\x1c")
        child.expect("quit")
        child.expect(pexpect.EOF)
        child.close()
        assert child.exitstatus == 7

    @peer_deviates("runc", "1.1 lets the caller's terminal turn newlines into two bytes")
    def test_every_byte_goes_both_ways(self, box: Box, seat: Seat) -> None:
        container = with_terminal(box, "sh", "-c", "stty raw -echo; echo up; cat")
        process, result = sit_down(container, seat)
        read_until(seat.master, "up")
        seat.drain()
        sent = bytes(range(256)) * 4
        os.write(seat.master, sent)
        assert seat.drain() == sent
        container.kill("KILL").ok()
        finish(process, result)


class TestOutput:
    """All of it arrives, however soon the program ends."""

    @pytest.mark.parametrize("verb", ["run", "exec"])
    @pytest.mark.parametrize("pause", [0.0, 1.0])
    def test_a_megabyte_and_the_end(self, box: Box, verb: str, pause: float, seat: Seat) -> None:
        """Also to a caller who begins to read late."""
        if verb == "run":
            process, result = sit_down(with_terminal(box, "sh", "-c", FULL), seat)
        else:
            process, result = sit_down(box.running(), seat, "sh", "-c", FULL)
        time.sleep(pause)
        seen = 0
        end = time.monotonic() + 20
        while seen < MEGABYTE and time.monotonic() < end:
            if select.select([seat.master], [], [], 0.2)[0]:
                seen += os.read(seat.master, 1 << 16).count(b"x")
        assert seen == MEGABYTE
        finish(process, result).ok()
        assert seat.is_as_it_was()

    def test_a_stopped_runtime_goes_on_where_it_was(self, box: Box, seat: Seat) -> None:
        script = f"echo up; read x; {FULL}; echo end"
        container = with_terminal(box, "sh", "-c", script)
        process, result = sit_down(container, seat)
        read_until(seat.master, "up")
        # The program may speak before the runtime has noted that it runs.
        wait_until(lambda: container.status == "running", "the container running")
        process.send_signal(signal.SIGSTOP)
        os.write(seat.master, b"go\n")
        time.sleep(0.3)
        assert container.status == "running"
        process.send_signal(signal.SIGCONT)
        seen = b""
        while b"end" not in seen:
            assert select.select([seat.master], [], [], 10)[0], len(seen)
            seen += os.read(seat.master, 1 << 16)
        assert seen.count(b"x") == MEGABYTE
        finish(process, result).ok()


class TestGivenBack:
    """The terminal is raw while the container has it, and as it was afterwards."""

    def test_while_and_after(self, box: Box, seat: Seat) -> None:
        container = with_terminal(box, "sh", "-c", "echo up; read x; exit 3")
        process, result = sit_down(container, seat)
        wait_until(seat.is_raw, "a raw terminal")
        read_until(seat.master, "up")
        os.write(seat.master, b"\n")
        assert finish(process, result).status == 3
        assert seat.is_as_it_was()

    def test_after_a_kill(self, box: Box, seat: Seat) -> None:
        container = with_terminal(box, "sh", "-c", "echo up; sleep 50")
        process, result = sit_down(container, seat)
        read_until(seat.master, "up")
        assert seat.is_raw()
        container.kill("KILL").ok()
        assert finish(process, result).status == 137
        assert seat.is_as_it_was()

    def test_after_a_signal_to_the_runtime(self, box: Box, seat: Seat) -> None:
        script = "trap 'exit 5' TERM; echo up; while :; do sleep 0.05; done"
        process, result = sit_down(with_terminal(box, "sh", "-c", script), seat)
        read_until(seat.master, "up")
        process.terminate()
        assert finish(process, result).status == 5
        assert seat.is_as_it_was()

    def test_after_a_program_that_is_not_there(self, box: Box, seat: Seat) -> None:
        process, result = sit_down(with_terminal(box, "/no/such"), seat)
        assert finish(process, result).status == 1
        assert seat.is_as_it_was()

    def test_after_a_program_that_cannot_be_executed(self, box: Box, seat: Seat) -> None:
        container = with_terminal(box, "/bin/garbage")
        script = container.bundle.rootfs / "bin/garbage"
        script.write_bytes(b"\x7fELF garbage")
        script.chmod(0o755)
        process, result = sit_down(container, seat)
        assert finish(process, result).status == 1
        assert seat.is_as_it_was()

    @peer_deviates("runc", "1.1 leaves it raw", sometimes=True)
    def test_after_a_failing_poststart_hook(self, box: Box, seat: Seat) -> None:
        container = with_terminal(box, "sleep", "50")
        container.bundle.config["hooks"] = {"poststart": [{"path": "/bin/false"}]}
        process, result = sit_down(container, seat)
        assert finish(process, result).status == 1
        assert seat.is_as_it_was()

    def test_exec_restores_the_terminal(self, box: Box, seat: Seat) -> None:
        container = box.running()
        for words, status in ((("sh", "-c", "exit 6"), 6), (("/no/such",), 255)):
            process, result = sit_down(container, seat, *words)
            seat.drain()
            assert finish(process, result).status == status
            assert seat.is_as_it_was()

    def test_when_the_container_ends_under_exec(self, box: Box, seat: Seat) -> None:
        container = box.running()
        process, result = sit_down(container, seat, "sleep", "50")
        wait_until(seat.is_raw, "a raw terminal")
        container.kill("KILL").ok()
        assert finish(process, result).status == 137
        assert seat.is_as_it_was()


class TestTmux:
    """A terminal that a program of its own draws."""

    @needs("tool tmux")
    def test_a_shell_in_a_window_that_changes_its_size(self, box: Box) -> None:
        container = with_terminal(box, "sh")
        call = container.runtime.prepare(
            "run", "--bundle", container.bundle.path, container.id, bundle=container.bundle
        )
        tmux = ["tmux", "-S", str(box.folder / "tmux"), "-f", "/dev/null"]

        def tell(*words: str) -> str:
            done = subprocess.run([*tmux, *words], capture_output=True, text=True, check=True)
            return done.stdout

        tell("new-session", "-d", "-x", "90", "-y", "30", *call.argv)
        try:
            tell("send-keys", "stty size; echo $((6*7))", "Enter")
            wait_until(lambda: "\n42\n" in tell("capture-pane", "-p"), "an answer")
            assert re.search(r"\n(29|30) 90\n", tell("capture-pane", "-p"))
            tell("resize-window", "-x", "70", "-y", "20")
            tell("send-keys", "clear; stty size", "Enter")
            size = re.compile(r"(19|20) 70\n")
            wait_until(lambda: size.search(tell("capture-pane", "-p")), "the new size")
            tell("send-keys", "exit", "Enter")
            wait_until(lambda: not (box.runtime.root / container.id).exists(), "its end")
        finally:
            subprocess.run([*tmux, "kill-server"], capture_output=True, check=False)


class TestSize:
    """Whose size counts."""

    def test_the_callers_wins_over_the_configurations(self, box: Box, seat: Seat) -> None:
        script = "sleep 0.2; stty size"
        container = with_terminal(
            box, "sh", "-c", script, consoleSize={"height": 31, "width": 97}
        )  # fmt: skip
        process, result = sit_down(container, seat)
        assert "24 80" in read_until(seat.master, "24 80")
        finish(process, result).ok()

    @peer_deviates("runc", "asks its stdin, which must be a terminal")
    @peer_deviates("crun", "asks its stdin, which must be a terminal")
    def test_the_configurations_counts_where_the_caller_has_none(self, box: Box) -> None:
        size = {"height": 31, "width": 97}
        run = with_terminal(box, "stty", "size", consoleSize=size).run(stdin=b"")
        assert run.ok().stdout == "31 97\n"


class TestStopSignals:
    """A caller's job control, with and without a terminal in the container."""

    def test_a_stop_key_of_the_caller_is_the_containers(self, box: Box) -> None:
        """Without one of its own the container gets the signal, and its init ignores it."""
        container = box.container(None, "sh", "-c", "echo up; read x; echo got-$x")
        call = container.runtime.prepare(
            "run", "--bundle", container.bundle.path, container.id, bundle=container.bundle
        )
        child = pexpect.spawn(call.argv[0], call.argv[1:], timeout=10)
        child.expect("up")
        child.send(b"\x1a")
        time.sleep(0.3)
        with open(f"/proc/{child.pid}/stat") as file:
            assert file.read().rpartition(") ")[2][0] in "SR"
        child.sendline("word")
        child.expect("got-word")
        child.expect(pexpect.EOF)
        child.close()
        assert child.exitstatus == 0


class TestCaptured:
    """A terminal in the container, and no terminal where its output or its input goes."""

    @needs("ours")
    @pytest.mark.parametrize("verb", ["run", "exec"])
    @pytest.mark.parametrize(
        "script", ["cat", "cat; cat; read x", "sh", "stty raw; cat | head -c 1 | wc -c"]
    )
    def test_the_end_of_input_is_passed_on(self, box: Box, verb: str, script: str) -> None:
        """As often as somebody reads."""
        if verb == "run":
            result = with_terminal(box, "sh", "-c", script).run(stdin=b"", timeout=15)
        else:
            container = box.running()
            flags = ("--tty",)
            result = container.exec("sh", "-c", script, flags=flags, stdin=b"", timeout=15)
        assert result.status in (0, 1)

    @needs("ours")
    @pytest.mark.parametrize("text", [b"a line\n", b"no newline"])
    def test_input_from_a_file_arrives_whole(self, box: Box, text: bytes) -> None:
        script = "stty -echo; echo; cat > /tmp/got"
        container = with_terminal(box, "sh", "-c", script)
        container.run(stdin=text, timeout=15).ok()
        assert (container.bundle.rootfs / "tmp/got").read_bytes() == text

    @pytest.mark.parametrize("verb", ["run", "exec"])
    def test_output_has_the_programs_own_lines(self, box: Box, seat: Seat, verb: str) -> None:
        """Scripts compare it; carriage returns are for those who look at a terminal."""
        keys = {"stdin": seat.slave, "start_new_session": True}
        if verb == "run":
            result = with_terminal(box, "echo", "word").run(**keys)
        else:
            result = box.running().exec("echo", "word", flags=("--tty",), **keys)
        assert result.ok().stdout == "word\n"
        assert seat.is_as_it_was()

    def test_what_others_write_to_the_terminal_keeps_its_lines(self, box: Box, seat: Seat) -> None:
        """`ocirun run … | tee`: our terminal is raw for keys, not for output."""
        container = with_terminal(box, "sh", "-c", "echo up; read x")
        keys = {"stdin": seat.slave, "start_new_session": True}
        process, result = container.runtime.spawn(
            "run", "--bundle", container.bundle.path, container.id, bundle=container.bundle, **keys
        )
        wait_until(lambda: "up" in result.stdout, "up")
        os.write(seat.slave, b"from tee\n")
        assert b"from tee\r\n" in seat.drain()
        os.write(seat.master, b"\r")
        finish(process, result).ok()
