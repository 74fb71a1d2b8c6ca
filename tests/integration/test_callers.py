"""The runtime called word for word as CRI-O and BuildKit call it.

Source: docs/runc-compat/callers.md#arguments; tests/clients for containerd's and podman's own
calls.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import termios
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from harness.box import Box
from harness.bundle import Bundle
from harness.runtime import wait_until
from harness.terminal import read_until, set_size

SIZE_TWICE = "stty size; read word; stty size; exit 4"


class Pty:
    """A terminal of the caller, which the runtime inherits as its stdio and controls."""

    def __init__(self) -> None:
        self.master, self._slave = os.openpty()

    def spawn(self, argv: list[str], *, controls: bool) -> subprocess.Popen[bytes]:
        """Start a program with this as its stdio, and as its controlling terminal or not."""

        def control() -> None:
            os.setsid()
            if controls:
                fcntl.ioctl(0, termios.TIOCSCTTY, 0)

        ends = {"stdin": self._slave, "stdout": self._slave, "stderr": self._slave}
        return subprocess.Popen(argv, preexec_fn=control, **ends)  # noqa: PLW1509

    def close(self) -> None:
        os.close(self.master)
        os.close(self._slave)


@pytest.fixture
def pty() -> Generator[Pty, None, None]:
    pty = Pty()
    yield pty
    pty.close()


def write_process(box: Box, *args: str, **settings: Any) -> str:  # noqa: ANN401
    """Write a process.json with all that these callers put into it."""
    process = {
        "user": {"uid": 0, "gid": 0},
        "args": list(args),
        "env": ["PATH=/bin"],
        "cwd": "/",
        "noNewPrivileges": True,
        **settings,
    }
    path = box.folder / "process.json"
    path.write_text(json.dumps(process))
    return str(path)


class TestCriO:
    """`--root R VERB …`, exec in the foreground."""

    def words(self, box: Box, *words: str) -> list[str]:
        return [box.runtime.path, "--root", str(box.runtime.root), *words]

    def call(self, box: Box, *words: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            self.words(box, *words), input=given, capture_output=True, timeout=30, check=False
        )

    def test_exec_in_the_foreground_keeps_streams_and_status(self, box: Box) -> None:
        container = box.running()
        file = write_process(box, "sh", "-c", "cat; echo two >&2; exit 6")
        done = self.call(box, "exec", "--process", file, container.id, given=b"one\n")
        assert (done.returncode, done.stdout, done.stderr) == (6, b"one\n", b"two\n")

    def test_exec_on_the_callers_terminal(self, box: Box, pty: Pty) -> None:
        """The inner terminal follows the outer one, whose size CRI-O sets."""
        container = box.running()
        file = write_process(box, "sh", "-c", SIZE_TWICE, terminal=True)
        set_size(pty.master, 30, 70)
        process = pty.spawn(self.words(box, "exec", "--process", file, container.id), controls=True)
        assert "30 70" in read_until(pty.master, "30 70")
        set_size(pty.master, 44, 99)  # the kernel tells the foreground process group
        show = ("exec", container.id, "sh", "-c", "stty size </dev/pts/0")
        wait_until(lambda: b"44 99" in self.call(box, *show).stdout, "the size")
        os.write(pty.master, b"go\n")
        read_until(pty.master, "44 99")
        assert process.wait(10) == 4

    def test_its_other_calls(self, box: Box) -> None:
        container = box.created(None, "/probe", "wait")
        assert self.call(box, "start", container.id).returncode == 0
        state = json.loads(self.call(box, "state", container.id).stdout)
        assert state["status"] == "running"
        for verb, status in (("pause", "paused"), ("resume", "running")):
            assert self.call(box, verb, container.id).returncode == 0
            assert container.status == status
        assert self.call(box, "kill", container.id, "15").returncode == 0
        assert self.call(box, "delete", "--force", container.id).returncode == 0
        assert self.call(box, "delete", "--force", container.id).returncode == 0  # once more
        assert self.call(box, "state", container.id).returncode == 1


class TestBuildKit:
    """`--log F --log-format json run --bundle B [--keep] ID`: no --root, in the foreground."""

    @pytest.fixture
    def bundle(self, box: Box) -> Bundle:
        return box.bundle("sh", "-c", "cat; echo two >&2; exit 6")

    def words(self, box: Box, *words: str) -> list[str]:
        log = str(box.folder / "buildkit.log")
        return [box.runtime.path, "--log", log, "--log-format", "json", *words]

    def call(self, box: Box, *words: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            self.words(box, *words), input=b"one\n", capture_output=True, timeout=30, check=False
        )

    def run_words(self, bundle: Bundle, container_id: str, *options: str) -> list[str]:
        bundle.save()
        return ["run", "--bundle", str(bundle.path), *options, container_id]

    def test_run_keeps_streams_and_status_and_deletes(self, box: Box, bundle: Bundle) -> None:
        container_id = box.container(bundle).id
        done = self.call(box, *self.run_words(bundle, container_id))
        assert (done.returncode, done.stdout, done.stderr) == (6, b"one\n", b"two\n")
        assert self.call(box, "state", container_id).returncode == 1

    def test_run_and_keep(self, box: Box, bundle: Bundle) -> None:
        container_id = box.container(bundle).id
        assert self.call(box, *self.run_words(bundle, container_id, "--keep")).returncode == 6
        assert json.loads(self.call(box, "state", container_id).stdout)["status"] == "stopped"
        assert self.call(box, "delete", container_id).returncode == 0

    def test_a_failure_is_in_the_log(self, box: Box) -> None:
        bundle = box.bundle("nosuch")
        assert self.call(box, *self.run_words(bundle, box.container(bundle).id)).returncode == 1
        last = (box.folder / "buildkit.log").read_text().splitlines()[-1]
        assert 'exec: "nosuch": executable file not found in $PATH' in json.loads(last)["msg"]

    def test_sigwinch_to_the_runtime(self, box: Box, pty: Pty) -> None:
        """BuildKit sets the size of a terminal nobody is in the foreground of, and says so."""
        bundle = box.bundle("sh", "-c", SIZE_TWICE, terminal=True)
        container_id = box.container(bundle).id
        set_size(pty.master, 30, 70)
        argv = self.words(box, *self.run_words(bundle, container_id))
        process = pty.spawn(argv, controls=False)
        read_until(pty.master, "30 70")
        set_size(pty.master, 44, 99)
        process.send_signal(signal.SIGWINCH)
        show = ("exec", container_id, "sh", "-c", "stty size </dev/pts/0")
        wait_until(lambda: b"44 99" in self.call(box, *show).stdout, "the size")
        os.write(pty.master, b"go\n")
        read_until(pty.master, "44 99")
        assert process.wait(10) == 4

    def test_exec_with_a_pid_file(self, box: Box) -> None:
        """BuildKit learns from the pid file that the process is there, and signals it."""
        bundle = box.bundle("/probe", "wait")
        container_id = box.container(bundle).id
        argv = self.words(box, *self.run_words(bundle, container_id))
        first = subprocess.Popen(argv, stdout=subprocess.PIPE)
        assert first.stdout is not None
        assert first.stdout.readline() == b"ready\n"
        file = write_process(box, "sh", "-c", "trap 'exit 7' USR1; while :; do sleep 0.05; done")
        pid_file = box.folder / "exec.pid"
        words = ("exec", "--process", file, "--pid-file", str(pid_file), container_id)
        second = subprocess.Popen(self.words(box, *words))
        wait_until(pid_file.exists, "the pid file")
        pid = int(pid_file.read_text())
        wait_until(lambda: b"trap" in Path(f"/proc/{pid}/cmdline").read_bytes(), "the shell")
        wait_until(lambda: _catches(pid, signal.SIGUSR1), "the trap")
        os.kill(pid, signal.SIGUSR1)
        assert second.wait(10) == 7
        assert self.call(box, "kill", container_id, "9").returncode == 0
        assert first.wait(10) == 137
        first.stdout.close()


def _catches(pid: int, number: signal.Signals) -> bool:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("SigCgt:"):
            return bool(int(line.split()[1], 16) >> (number - 1) & 1)
    return False
