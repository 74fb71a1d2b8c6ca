"""`exec --tty`: a terminal in the foreground, and one that is sent to a console socket.

Source: docs/runc-compat/cli.md#exec, docs/runc-compat/protocols.md#console-socket; runtime-spec
config.md#process.
"""

from __future__ import annotations

import json

import pexpect
import pytest
from harness.box import Box, Container
from harness.needs import needs
from harness.peers import peer_deviates
from harness.terminal import ConsoleSocket, set_size

pytestmark = needs("root")


def tty_of(text: str) -> dict[str, object]:
    report = json.loads(text[text.index("{") : text.rindex("}") + 1])
    tty: dict[str, object] = report["tty"]
    return tty


class TestTerminal:
    """A pty of the container's own devpts."""

    def shell(self, container: Container, *words: str) -> pexpect.spawn[bytes]:
        call = container.runtime.prepare("exec", "--tty", container.id, *words)
        return pexpect.spawn(call.argv[0], call.argv[1:], timeout=10, dimensions=(24, 80))

    def test_a_shell_can_be_talked_to(self, box: Box) -> None:
        child = self.shell(box.running(), "sh")
        child.expect("[#$] ")
        child.sendline("echo $((6*7)); tty")
        child.expect("42")
        child.expect("/dev/pts/0")
        child.sendline("exit 5")
        child.expect(pexpect.EOF)
        child.close()
        assert child.exitstatus == 5

    @peer_deviates("runc", "sets the size too late for the first look", sometimes=True)
    def test_the_size_is_the_callers_and_follows_it(self, box: Box) -> None:
        script = "stty size; trap 'stty size' WINCH; echo up; while :; do sleep 0.05; done"
        container = box.running()
        child = self.shell(container, "sh", "-c", script)
        child.expect("24 80")
        child.expect("up")
        child.setwinsize(40, 132)
        child.expect("40 132")
        container.kill("KILL").ok()
        child.expect(pexpect.EOF)
        child.close()
        assert child.exitstatus == 137

    def test_control_c_goes_to_the_process(self, box: Box) -> None:
        child = self.shell(
            box.running(), "sh", "-c", "trap 'echo int; exit 9' INT; echo up; read x"
        )
        child.expect("up")
        for _ in range(10):  # the shell loses one that comes just before it begins to read
            child.sendintr()
            if child.expect(["int", pexpect.TIMEOUT], timeout=1) == 0:
                break
        child.expect(pexpect.EOF)
        child.close()
        assert child.exitstatus == 9

    def test_a_job_left_behind_does_not_hold_us(self, box: Box) -> None:
        child = self.shell(box.running(), "sh", "-c", "trap '' HUP; sleep 50 & echo left; exit 4")
        child.expect("left")
        child.expect(pexpect.EOF, timeout=5)
        child.close()
        assert child.exitstatus == 4

    def test_two_terminals_and_the_containers_own(self, box: Box) -> None:
        container = box.container(box.bundle("/probe", "wait", terminal=True))
        with ConsoleSocket(box.folder / "console") as console:
            container.create("--console-socket", console.path).ok()
            console.receive()
            container.start().ok()
            first, second = (self.shell(container, "sh", "-c", "tty; read x") for _ in range(2))
            first.expect(r"/dev/pts/(\d)")
            second.expect(r"/dev/pts/(\d)")
            assert {first.match[1], second.match[1]} == {b"1", b"2"}
            for child in (first, second):
                child.sendline("")
                child.expect(pexpect.EOF)
                child.close()

    def test_the_console_socket_receives_the_terminal(self, box: Box) -> None:
        container = box.running()
        with ConsoleSocket(box.folder / "console") as console:
            flags = ("--tty", "--detach", "--console-socket", console.path, "--user", "1000")
            container.exec("/probe", flags=flags).ok()
            console.receive()
            tty = tty_of(console.read_until('"files":{}}'))
        assert tty == {
            **{str(fd): "/dev/pts/0" for fd in range(3)},
            "height": 0,
            "width": 0,
            "controlling": 1,
        }

    def test_console_socket_with_a_process_file(self, box: Box) -> None:
        container = box.running()
        process = {
            "terminal": True,
            "consoleSize": {"height": 31, "width": 97},
            "args": ["sh", "-c", "stty size; trap 'stty size' WINCH; while :; do sleep 0.05; done"],
            "cwd": "/",
            "env": ["PATH=/bin"],
            "user": {"uid": 0, "gid": 0},
        }
        with ConsoleSocket(box.folder / "console") as console:
            flags = ("--detach", "--console-socket", console.path)
            container.exec_process(process, *flags).ok()
            master = console.receive()
            console.read_until("31 97")
            set_size(master, 44, 133)
            console.read_until("44 133")

    @pytest.mark.parametrize(
        ("flags", "text"),
        [
            (("--tty", "--detach"), "detach without setting console socket"),
            (("--console-socket", "/x"), "not detach or allocate tty"),
            (("--detach", "--console-socket", "/x"), "not detach or allocate tty"),
            (("--tty", "--console-socket", "/x"), "not detach or allocate tty"),
        ],
    )
    def test_what_does_not_go_together(self, box: Box, flags: tuple[str, ...], text: str) -> None:
        box.running().exec("true", flags=flags).failed(text, status=255)

    def test_a_container_without_a_devpts(self, box: Box) -> None:
        bundle = box.bundle("/probe", "wait")
        bundle.config["mounts"] = bundle.mounts[:2]
        child = self.shell(box.running(bundle), "true")
        child.expect("ptmx")
        child.expect(pexpect.EOF)
        child.close()
        assert child.exitstatus == 255
