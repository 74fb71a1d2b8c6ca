"""`exec`: in the foreground, detached, with a terminal; what the caller gets and when.

Source: docs/runc-compat/cli.md#exec, docs/runc-compat/protocols.md#foreground-mode.
"""

from __future__ import annotations

import array
import json
import os
import signal
import socket
import subprocess
import threading
from pathlib import Path

import pytest
from harness.box import Box, Container
from harness.needs import needs
from harness.peers import peer_deviates
from harness.runtime import Result, finish, wait_until

pytestmark = needs("root")


def spawn(container: Container, *words: str | Path) -> tuple[subprocess.Popen[bytes], Result]:
    """Start `exec ID WORDS` and do not wait."""
    return container.runtime.spawn("exec", container.id, *words)


class TestStatus:
    """The exit status is the process's; 255 when there was none."""

    @pytest.mark.parametrize("status", [0, 1, 7, 126, 127, 254, 255])
    def test_the_processs_own(self, box: Box, status: int) -> None:
        assert box.running().exec("/probe", "exit", str(status)).status == status

    def test_killed_by_a_signal_it_is_128_more(self, box: Box) -> None:
        container = box.running()
        assert container.exec("/probe", "crash").status == 139
        assert container.exec("sh", "-c", "kill -9 $$").status == 137

    @pytest.mark.parametrize("word", ["/no/such", "nowhere", "/etc", "/etc/passwd"])
    def test_what_cannot_be_executed_is_255(self, box: Box, word: str) -> None:
        texts = {
            "/no/such": "no such file or directory",
            "nowhere": "executable file not found in $PATH",
            "/etc": "is a directory",
            "/etc/passwd": "permission denied",
        }
        call = box.running().exec(word)
        if box.runtime.name != "ours" and word == "/etc":  # EACCES, as execve says it
            texts["/etc"] = "permission denied"
        call.failed(texts[word], status=255)

    def test_an_unknown_container_is_255(self, box: Box) -> None:
        box.container().exec("true").failed("does not exist", status=255)

    def test_a_stopped_container_is_255(self, box: Box) -> None:
        container = box.running()
        container.stop()
        container.exec("true").failed("cannot exec in a stopped container", status=255)

    def test_a_created_container_can_be_entered(self, box: Box) -> None:
        container = box.created()
        assert container.exec("/bin/cat", "/etc/hostname").ok().stdout == "rootfs\n"
        assert container.status == "created"
        container.finished()


class TestForeground:
    """exec waits; signals and stdio go through."""

    def test_stdio_is_the_callers(self, box: Box) -> None:
        call = box.running().exec("sh", "-c", "cat; echo err >&2", stdin=b"input")
        assert (call.ok().stdout, call.stderr) == ("input", "err\n")

    @pytest.mark.parametrize("name", ["HUP", "INT", "QUIT", "USR1", "USR2", "CONT"])
    def test_signals_are_forwarded(self, box: Box, name: str) -> None:
        number = signal.Signals[f"SIG{name}"]
        process, result = spawn(box.running(), "/probe", "trap")
        wait_until(lambda: "ready" in result.stdout, "ready")
        process.send_signal(number)
        wait_until(lambda: f"got {number:02}" in result.stdout, f"got {number}")
        process.send_signal(signal.SIGTERM)
        assert finish(process, result).status == 33

    def test_the_container_is_not_signalled(self, box: Box) -> None:
        container = box.running(None, "/probe", "trap")
        process, result = spawn(container, "/probe", "wait", "5")
        wait_until(lambda: "ready" in result.stdout, "ready")
        process.send_signal(signal.SIGTERM)
        assert finish(process, result).status == 5
        assert "got" not in container.output
        assert container.status == "running"

    def test_only_the_one_process_is_waited_for(self, box: Box) -> None:
        call = box.running().exec("sh", "-c", "sleep 50 >/dev/null 2>&1 & exit 6", timeout=10)
        assert call.status == 6

    def test_children_of_the_process_go_to_init(self, box: Box) -> None:
        container = box.running()
        container.exec("/probe", "orphan", "0").ok()
        assert container.status == "running"

    def test_a_caller_that_ignores_sigchld(self, box: Box) -> None:
        def ignore() -> None:
            signal.signal(signal.SIGCHLD, signal.SIG_IGN)

        call = box.running().exec("/probe", "exit", "3", preexec_fn=ignore, timeout=10)
        assert call.status in (3, *((255,) if box.runtime.name != "ours" else ()))

    def test_a_closed_stdin_is_no_error(self, box: Box) -> None:
        def close() -> None:
            os.close(0)

        assert box.running().exec("/probe", "exit", "3", preexec_fn=close).status == 3

    def test_signal_dispositions_and_mask_are_the_default(self, box: Box) -> None:
        def disturb() -> None:
            signal.signal(signal.SIGUSR1, signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])

        report = box.running().exec("/probe", preexec_fn=disturb).ok().json()
        assert (
            int(report["signals"]["blocked"], 16) in (0, 1 << 11)
            if (box.runtime.name != "ours")
            else int(report["signals"]["blocked"], 16) == 0
        )
        if box.runtime.name == "ours":
            assert int(report["signals"]["ignored"], 16) == 0


class TestDetached:
    """`--detach` returns once the program runs; the pid file says which it is."""

    def test_it_returns_and_the_process_runs(self, box: Box) -> None:
        container = box.running()
        file = box.folder / "pid"
        call = container.exec("/probe", "wait", flags=("--detach", "--pid-file", file)).ok()
        pid = int(file.read_text())
        wait_until(lambda: "ready" in call.stdout, "ready")
        assert Path(f"/proc/{pid}/root/probe").exists()
        assert os.readlink(f"/proc/{pid}/ns/pid") == os.readlink(f"/proc/{container.pid}/ns/pid")
        os.kill(pid, signal.SIGTERM)
        wait_until(lambda: not Path(f"/proc/{pid}/exe").exists(), "its end")

    def test_the_pid_file_has_no_newline_and_replaces_another(self, box: Box) -> None:
        file = box.folder / "pid"
        file.write_text("something that was there before")
        box.running().exec("true", flags=("--pid-file", file)).ok()
        assert file.read_bytes().isdigit()

    @pytest.mark.parametrize("detach", [(), ("--detach",)])
    @pytest.mark.parametrize("word", ["/no/such", "/etc/passwd"])
    def test_no_pid_file_without_success(
        self, box: Box, word: str, detach: tuple[str, ...]
    ) -> None:
        file = box.folder / "pid"
        box.running().exec(word, flags=(*detach, "--pid-file", file)).failed(status=255)
        assert not file.exists()

    def test_a_pid_file_that_cannot_be_written(self, box: Box) -> None:
        container = box.running()
        flags = ("--detach", "--pid-file", box.folder / "no" / "pid")
        container.exec("/bin/sleep", "1000", flags=flags).failed("no such file", status=255)
        pids = container.runtime.call("ps", "--format", "json", container.id).ok().json()
        assert pids == [container.pid]

    def test_a_relative_pid_file(self, box: Box) -> None:
        box.running().exec("true", flags=("--pid-file", "here"), cwd=box.folder).ok()
        assert (box.folder / "here").exists()

    def test_the_process_survives_the_runtime(self, box: Box) -> None:
        container = box.running()
        container.exec("sh", "-c", "sleep 0.3; echo late", flags=("--detach",)).ok()
        result = container.runtime.calls[-1]
        wait_until(lambda: "late" in result.stdout, "late")

    def test_fifty_at_once(self, box: Box) -> None:
        container = box.running()
        calls = [spawn(container, "sh", "-c", f"echo {n}; exit {n}") for n in range(50)]
        for number, (process, result) in enumerate(calls):
            assert finish(process, result, 60).status == number
            assert result.stdout == f"{number}\n"
        assert container.status == "running"


class TestDescriptors:
    """No descriptor but those that were asked for."""

    def test_nothing_leaks_in(self, box: Box) -> None:
        folder = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
        os.set_inheritable(folder, True)
        call = box.running().exec("/probe", close_fds=False)
        os.close(folder)
        assert set(call.ok().json()["fds"]) == {"0", "1", "2"}

    def test_preserved_ones_are_there(self, box: Box) -> None:
        container = box.running()
        script = f'exec 3<{box.folder}/a 4<{box.folder}/b 5</; exec "$@"'
        (box.folder / "a").write_text("A")
        (box.folder / "b").write_text("B")
        call = container.runtime.prepare(
            "exec",
            "--preserve-fds",
            "2",
            container.id,
            "sh",
            "-c",
            "cat <&3; cat <&4; ls /proc/self/fd",
        )
        done = subprocess.run(
            ["sh", "-c", script, "sh", *call.argv], check=False, capture_output=True
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.decode().split() == ["AB0", "1", "2", "3", "4", "5"]  # 5 is ls's own

    @peer_deviates("runc", "1.1 takes it as it is")
    @peer_deviates("crun", "takes it as it is")
    def test_one_that_is_not_open(self, box: Box) -> None:
        call = box.running().exec("true", flags=("--preserve-fds", "1"))
        call.failed("preserved-fd", status=255)

    @peer_deviates("runc", "exec passes no LISTEN_FDS")
    @peer_deviates("crun", "leaves LISTEN_PID as it is", sometimes=True)
    def test_listen_fds_are_not_counted_as_preserved(self, box: Box) -> None:
        container = box.running()
        call = container.runtime.prepare("exec", container.id, "/probe")
        script = 'exec 3</etc/passwd; LISTEN_FDS=1 LISTEN_PID=$$ exec "$@"'
        done = subprocess.run(
            ["sh", "-c", script, "sh", *call.argv], check=False, capture_output=True
        )
        assert done.returncode == 0, done.stderr
        report = json.loads(done.stdout)
        assert set(report["fds"]) == {"0", "1", "2", "3"}
        assert {"LISTEN_FDS=1", f"LISTEN_PID={report['pid']}"} <= set(report["env"])


def receive(listener: socket.socket) -> tuple[bytes, int]:
    """Take one connection's message and its one descriptor."""
    listener.settimeout(10)
    connection, _ = listener.accept()
    with connection:
        payload, control, _, _ = connection.recvmsg(4096, socket.CMSG_SPACE(64))
    ((_, _, data),) = control
    (fd,) = array.array("i", data)
    return payload, fd


@needs("ours")
class TestPidfdSocket:
    """`--pidfd-socket`: the payload says which kind of process it is (runc has it from 1.2)."""

    def wait_for_pidfd(self, box: Box) -> tuple[list[tuple[bytes, int]], threading.Thread, Path]:
        path = box.folder / "pidfd"
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(path))
        listener.listen()
        got: list[tuple[bytes, int]] = []

        def take() -> None:
            with listener:
                got.append(receive(listener))

        thread = threading.Thread(target=take)
        thread.start()
        return got, thread, path

    def test_create_sends_a_pidfd_of_init(self, box: Box) -> None:
        got, thread, path = self.wait_for_pidfd(box)
        container = box.container(None, "/probe", "wait")
        container.create("--pidfd-socket", path).ok()
        thread.join()
        ((payload, fd),) = got
        assert payload == b"standard"
        assert f"Pid:\t{container.pid}\n" in Path(f"/proc/self/fdinfo/{fd}").read_text()
        os.close(fd)

    def test_exec_sends_a_pidfd_of_its_process(self, box: Box) -> None:
        got, thread, path = self.wait_for_pidfd(box)
        file = box.folder / "pid"
        flags = ("--detach", "--pidfd-socket", path, "--pid-file", file)
        box.running().exec("/bin/sleep", "1000", flags=flags).ok()
        thread.join()
        ((payload, fd),) = got
        assert payload == b"setns"
        assert f"Pid:\t{file.read_text()}\n" in Path(f"/proc/self/fdinfo/{fd}").read_text()
        signal.pidfd_send_signal(fd, signal.SIGKILL)
        os.close(fd)
