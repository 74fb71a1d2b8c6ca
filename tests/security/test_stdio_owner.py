"""The files, terminals and devices that a caller has for its stdio stay the caller's.

In the foreground the runtime copies through pipes; detached, the container has the caller's own
descriptors. Seen before: `exec web < file` gave the file to the container's user, who could then
write to it although it was open for reading only; `run > out` let the container make `out` setuid;
the terminal of the caller changed its owner.

Outcome on the peers: runc 1.1.5 copies in the foreground, and with --detach gives away everything
but /dev/null; crun 1.8.1 hands over the caller's own files in both.

Source: runc-run(8); docs/runc-compat/protocols.md#foreground-mode; fchown(2), proc_pid_fd(5).
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from harness.box import Box, Container
from harness.needs import needs
from harness.peers import peer_deviates
from harness.runtime import Result, finish, wait_until

pytestmark = needs("root")

USER = {"uid": 1000, "gid": 1000}
WAIT = "echo ready >&2; exec sleep 60"
OWN_FILES = peer_deviates("crun", "hands over the caller's own files", sometimes=True)
GIVEN_BY_RUNC = peer_deviates("runc", "gives away all but /dev/null", sometimes=True)
GIVEN_BY_CRUN = peer_deviates("crun", "gives away all but /dev/null", sometimes=True)


@pytest.fixture
def secret(box: Box) -> Path:
    """A file of root's that nobody else may read or write."""
    path = box.folder / "secret"
    path.write_text("of the host\n")
    path.chmod(0o600)
    return path


@pytest.fixture
def terminal() -> Generator[tuple[int, int], None, None]:
    """A terminal of the host: master and slave."""
    pair = os.openpty()
    yield pair
    for fd in pair:
        os.close(fd)


def run(box: Box, script: str, **keys: Any) -> Result:  # noqa: ANN401
    """Run a shell script in the foreground as an ordinary user without rights."""
    return box.container(None, "sh", "-c", script, user=USER).run(**keys)


def create(box: Box, **keys: Any) -> Container:  # noqa: ANN401
    """Create and start a container of an ordinary user that has `keys` for its stdio."""
    container = box.container(None, "sh", "-c", WAIT, user=USER)
    container.create(**keys).ok()
    container.start().ok()
    container.wait_status("running")
    return container


@OWN_FILES
class TestForeground:
    """`run` and `exec` without --detach."""

    def test_a_file_for_exec_keeps_its_owner(self, box: Box, secret: Path) -> None:
        container = box.running()
        with secret.open("rb") as stdin:
            result = container.exec("cat", flags=("--user", "1000:1000"), stdin=stdin).ok()
        assert result.stdout == "of the host\n"
        assert secret.stat().st_uid == 0

    @pytest.mark.parametrize("user", ["1000:1000", pytest.param("0:0", id="root")])
    def test_a_file_that_is_open_for_reading_cannot_be_written(
        self, box: Box, secret: Path, user: str
    ) -> None:
        container = box.running()
        script = "echo owned > /proc/self/fd/0; chmod 666 /proc/self/fd/0; true"
        with secret.open("rb") as stdin:
            container.exec("sh", "-c", script, flags=("--user", user), stdin=stdin)
        assert secret.read_text() == "of the host\n"
        assert stat.S_IMODE(secret.stat().st_mode) == 0o600

    def test_a_file_for_output_cannot_be_made_setuid(self, box: Box) -> None:
        out = box.folder / "out"
        out.touch(0o644)
        with out.open("wb") as stdout:
            box.container(None, "sh", "-c", "chmod 4755 /proc/self/fd/1; echo done").run(
                stdout=stdout
            ).ok()
        assert out.read_text() == "done\n"
        assert (out.stat().st_uid, stat.S_IMODE(out.stat().st_mode)) == (0, 0o644)

    def test_a_file_for_output_keeps_its_owner(self, box: Box) -> None:
        out = box.folder / "out"
        with out.open("wb") as stdout:
            run(box, "echo done", stdout=stdout).ok()
        assert out.read_text() == "done\n"
        assert out.stat().st_uid == 0

    def test_an_append_only_log_cannot_be_truncated(self, box: Box) -> None:
        out = box.folder / "out"
        out.write_text("before\n")
        with out.open("ab") as stdout:
            run(box, ": > /proc/self/fd/1; echo done", stdout=stdout)
        assert out.read_text() == "before\ndone\n"

    @pytest.mark.parametrize("verb", ["run", "exec"])
    def test_the_callers_terminal_keeps_its_owner(
        self, box: Box, terminal: tuple[int, int], verb: str
    ) -> None:
        before = os.fstat(terminal[1])
        ends = dict.fromkeys(("stdin", "stdout", "stderr"), terminal[1])
        if verb == "run":
            run(box, "echo done", **ends).ok()
        else:
            box.running().exec("echo", "done", flags=("--user", "1000:1000"), **ends).ok()
        after = os.fstat(terminal[1])
        assert (after.st_uid, after.st_mode) == (before.st_uid, before.st_mode)
        assert os.read(terminal[0], 100) == b"done\r\n"

    def test_a_device_for_stdin_stays_what_it_is(self, box: Box) -> None:
        """Also one that everybody may use: its mode is the host's."""
        before = os.stat("/dev/null")
        script = "chmod 600 /proc/self/fd/0 /proc/self/fd/1; chown 1000 /proc/self/fd/0; true"
        with open("/dev/null", "r+b", buffering=0) as null:
            box.running().exec("sh", "-c", script, stdin=null, stdout=null)
        after = os.stat("/dev/null")
        assert (after.st_mode, after.st_uid) == (before.st_mode, before.st_uid)

    @pytest.mark.parametrize("uid", [0, 1000])
    def test_stdio_can_be_opened_again(self, box: Box, uid: int) -> None:
        """What log files of images lead to: /dev/stdout."""
        script = "echo out > /dev/stdout; echo err > /dev/stderr; cat /dev/stdin"
        bundle = box.bundle("sh", "-c", script, user={"uid": uid, "gid": uid})
        result = box.container(bundle).run(stdin=b"in\n").ok()
        assert (result.stdout, result.stderr) == ("out\nin\n", "err\n")

    @needs("userns")
    @pytest.mark.parametrize("uid", [0, 1000])
    def test_stdio_can_be_opened_again_in_a_user_namespace(self, box: Box, uid: int) -> None:
        script = "echo out > /dev/stdout; echo err > /dev/stderr; cat /dev/stdin"
        bundle = box.bundle("sh", "-c", script, user={"uid": uid, "gid": uid})
        bundle.use_userns((0, 100000, 65536))
        result = box.container(bundle).run(stdin=b"in\n").ok()
        assert (result.stdout, result.stderr) == ("out\nin\n", "err\n")


@OWN_FILES
class TestLeftBehind:
    """A process that `exec` leaves behind has nothing of the caller's any more."""

    def test_it_does_not_read_what_comes_later(self, box: Box) -> None:
        container = box.running()
        reading, writing = os.pipe()
        job = "{ cat <&3 >/tmp/got; } >/dev/null 2>&1 3<&0 &"
        container.exec("sh", "-c", job, stdin=reading).ok()
        wait_until((container.bundle.rootfs / "tmp/got").exists, "its file")
        time.sleep(0.3)  # until it reads
        os.write(writing, b"typed later\n")
        os.close(writing)
        assert os.read(reading, 100) == b"typed later\n"
        os.close(reading)
        assert (container.bundle.rootfs / "tmp/got").read_text() == ""

    @peer_deviates("runc", "waits until nobody holds the pipe any more")
    def test_it_does_not_hold_exec(self, box: Box) -> None:
        result = box.running().exec("sh", "-c", "sleep 60 & echo started", timeout=5)
        assert result.ok().stdout == "started\n"

    def test_what_it_says_soon_still_arrives(self, box: Box) -> None:
        """As the output of `2> >(sed …)` does, whose reader ends a little later."""
        result = box.running().exec("sh", "-c", "(sleep 0.1; echo late) & echo early").ok()
        wait_until(lambda: "late" in result.stdout, "the last words", 1)
        assert result.stdout == "early\nlate\n"

    @peer_deviates("runc", "waits until nobody holds the pipe any more")
    def test_one_that_never_stops_talking_does_not_hold_exec(self, box: Box) -> None:
        result = box.running().exec("sh", "-c", "yes & echo started >&2", timeout=10)
        assert "started" in result.ok().stderr

    def test_all_that_the_process_has_said_arrives(self, box: Box) -> None:
        """Also where the caller reads slowly, and somebody else holds the pipe."""
        reading, writing = os.pipe()
        script = "sleep 5 & dd if=/dev/zero bs=65536 count=4 2>/dev/null; exit 3"
        process, result = box.running().runtime.spawn(
            "exec", box.containers[-1].id, "sh", "-c", script, stdout=writing
        )
        os.close(writing)
        count = 0
        while data := os.read(reading, 1000):
            count += len(data)
        os.close(reading)
        assert finish(process, result).status == 3
        assert count == 4 * 65536


class TestDetached:
    """`create` and `--detach`: the caller's descriptors are the container's; few change owner."""

    def test_pipes_become_the_users(self, box: Box) -> None:
        """conmon and containerd's shim hand over pipes, and images open /dev/stdout."""
        stdin, to_stdin = os.pipe()
        from_stdout, stdout = os.pipe()
        script = "cat /dev/stdin; echo out > /dev/stdout"
        container = box.container(None, "sh", "-c", script, user=USER)
        container.create(stdin=stdin, stdout=stdout).ok()
        assert os.fstat(stdin).st_uid == os.fstat(stdout).st_uid == 1000
        container.start().ok()
        os.write(to_stdin, b"in\n")
        for fd in (stdin, to_stdin, stdout):
            os.close(fd)
        text = b""
        while data := os.read(from_stdout, 100):
            text += data
        os.close(from_stdout)
        assert text == b"in\nout\n"

    def test_a_file_for_output_becomes_the_users(self, box: Box) -> None:
        """As on the peers: the container can write to it anyway."""
        out = box.folder / "out"
        with out.open("wb") as stdout:
            container = box.container(None, "sh", "-c", "echo out > /dev/stdout", user=USER)
            container.create(stdout=stdout).ok()
        assert out.stat().st_uid == 1000
        container.start().ok()
        container.wait_status("stopped")
        assert out.read_text() == "out\n"

    @GIVEN_BY_RUNC
    @GIVEN_BY_CRUN
    def test_a_file_that_is_open_for_reading_keeps_its_owner(self, box: Box, secret: Path) -> None:
        with secret.open("rb") as stdin:
            create(box, stdin=stdin)
        assert secret.stat().st_uid == 0

    @GIVEN_BY_RUNC
    @GIVEN_BY_CRUN
    def test_a_fifo_that_is_open_for_reading_keeps_its_owner(self, box: Box) -> None:
        fifo = box.folder / "fifo"
        os.mkfifo(fifo, 0o600)
        with open(os.open(fifo, os.O_RDONLY | os.O_NONBLOCK), "rb") as stdin:
            create(box, stdin=stdin)
        assert fifo.stat().st_uid == 0

    @GIVEN_BY_RUNC
    @GIVEN_BY_CRUN
    @pytest.mark.parametrize("verb", ["create", "exec"])
    def test_the_callers_terminal_keeps_its_owner(
        self, box: Box, terminal: tuple[int, int], verb: str
    ) -> None:
        before = os.fstat(terminal[1]).st_uid
        ends = {"stdin": terminal[1], "stdout": terminal[1]}
        if verb == "create":
            create(box, **ends)
        else:
            flags = ("--detach", "--user", "1000:1000")
            box.running().exec("sh", "-c", "exit 0", flags=flags, **ends).ok()
        assert os.fstat(terminal[1]).st_uid == before

    @GIVEN_BY_RUNC
    @GIVEN_BY_CRUN
    @pytest.mark.parametrize("device", ["zero", "full", "null", "loop0"])
    def test_a_device_keeps_its_owner(self, box: Box, device: str) -> None:
        """One of the test's own /dev, which has copies of the machine's nodes."""
        node = Path("/dev", device)
        try:
            fd = os.open(node, os.O_RDONLY | os.O_NONBLOCK)
        except OSError as error:
            if device != "loop0":
                raise
            pytest.skip(f"this machine has no block device: {error}")
        before = node.stat()
        create(box, stdin=fd)
        os.close(fd)
        after = node.stat()
        os.chown(node, before.st_uid, before.st_gid)
        assert (after.st_uid, after.st_gid, after.st_mode) == (
            before.st_uid,
            before.st_gid,
            before.st_mode,
        )
