"""Paths that a caller names for the runtime to write to, where something else lies.

Seen before: `--pid-file /dev/full` renamed a file over the device, for every program of the
machine; `--log` on a FIFO waited for a reader for good. Everything here is a decoy below the test's
folder, or a node of the test's own /dev.

Outcome on the peers, by hand: `--pid-file` of runc 1.1.5 replaces a device node, a FIFO or a link
by a file, and its `--log` waits for a FIFO's reader; crun 1.8.1 writes the pid into a device and
through a link, and waits for a FIFO's reader.

Source: rename(2), open(2), fifo(7).
"""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Generator
from pathlib import Path

import pytest
from harness.box import Box
from harness.needs import needs

pytestmark = [needs("root"), needs("ours")]

KINDS = ["device", "block", "fifo", "folder", "socket", "link", "dangling", "link to a device"]


class Decoy:
    """Something at `path` that is no regular file, and a canary where it leads to."""

    def __init__(self, folder: Path, kind: str) -> None:
        self.path = folder / "decoy"
        self.canary = folder / "canary"
        self.canary.write_text("untouched")
        self._socket = socket.socket(socket.AF_UNIX)
        if kind == "device":
            os.mknod(self.path, stat.S_IFCHR | 0o666, os.makedev(1, 7))
        elif kind == "block":
            os.mknod(self.path, stat.S_IFBLK | 0o600, os.makedev(7, 250))
        elif kind == "fifo":
            os.mkfifo(self.path)
        elif kind == "folder":
            self.path.mkdir()
        elif kind == "socket":
            self._socket.bind(os.fspath(self.path))
        elif kind == "link":
            self.path.symlink_to(self.canary)
        elif kind == "dangling":
            self.path.symlink_to(folder / "nowhere")
        else:
            node = folder / "node"
            os.mknod(node, stat.S_IFCHR | 0o666, os.makedev(1, 7))
            self.path.symlink_to(node)
        self._names = set(os.listdir(folder))
        self._before = self._look()

    def _look(self) -> tuple[int, ...]:
        seen = self.path.lstat()
        return (seen.st_ino, seen.st_mode, seen.st_uid, seen.st_gid, seen.st_rdev)

    def check(self, *, new: set[str] | None = None) -> None:
        """Be sure that it is still the same, and nothing was put beside it but `new`."""
        assert self._look() == self._before
        assert self.canary.read_text() == "untouched"
        assert set(os.listdir(self.path.parent)) == self._names | (new or set())

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(params=KINDS)
def decoy(box: Box, request: pytest.FixtureRequest) -> Generator[Decoy, None, None]:
    folder = box.folder / "decoys"
    folder.mkdir()
    decoy = Decoy(folder, request.param)
    yield decoy
    decoy.close()


class TestPidFile:
    """--pid-file: only a regular file is replaced; a link is none (rename would take it away)."""

    @pytest.mark.parametrize("verb", ["create", "run"])
    def test_nothing_is_replaced_and_nothing_created(
        self, box: Box, decoy: Decoy, verb: str
    ) -> None:
        container = box.container(None, "/probe", "wait")
        flags = ("--detach",) if verb == "run" else ()
        call = container.create if verb == "create" else container.run
        call(*flags, "--pid-file", decoy.path).failed(
            f"--pid-file {decoy.path}", "not a regular file"
        )
        decoy.check()
        box.runtime.call("state", container.id).failed("does not exist")

    def test_exec_refuses_a_pid_file_that_is_no_regular_file(self, box: Box, decoy: Decoy) -> None:
        container = box.running()
        call = container.exec("touch", "/tmp/ran", flags=("--pid-file", decoy.path))
        call.failed(f"--pid-file {decoy.path}", "not a regular file", status=255)
        decoy.check()
        assert not (container.bundle.rootfs / "tmp/ran").exists()

    def test_a_node_of_dev(self, box: Box) -> None:
        before = os.stat("/dev/full")
        box.container().create("--pid-file", "/dev/full").failed("not a regular file")
        after = os.stat("/dev/full")
        assert (after.st_ino, after.st_mode, after.st_rdev) == (
            before.st_ino,
            before.st_mode,
            before.st_rdev,
        )


class TestLog:
    """--log: appended to a regular file, also through a link, or to what takes only text."""

    def test_nothing_else_is_opened(self, box: Box, decoy: Decoy) -> None:
        """A FIFO without a reader would wait for one, a device may act on being opened."""
        container = box.container(None, "true")
        call = container.runtime.prepare(
            "run", "--bundle", container.bundle.path, container.id, bundle=container.bundle
        )
        call.argv[call.argv.index("--log") + 1] = os.fspath(decoy.path)
        regular = decoy.path.is_symlink() and not decoy.path.is_char_device()
        done = box.runtime.run_prepared(call, timeout=5)
        if regular:
            done.ok()
            new = set() if decoy.path.resolve() == decoy.canary else {"nowhere"}
            decoy.check(new=new)
            return
        reasons = {stat.S_IFIFO: "no such device or address", stat.S_IFDIR: "is a directory"}
        reason = reasons.get(stat.S_IFMT(decoy.path.stat().st_mode), "not a regular file")
        done.failed(f"open {decoy.path}: {reason}")
        decoy.check()

    def test_one_that_takes_its_place_later(self, box: Box) -> None:
        """The log is opened for each line; what is there by then counts."""
        log = box.folder / "log"
        container = box.container(None, "/no/such/program")
        hook = f"rm -f {log}; mkfifo {log}"
        container.bundle.config["hooks"] = {
            "prestart": [
                {"path": "/bin/sh", "args": ["sh", "-c", hook], "env": ["PATH=/usr/bin:/bin"]}
            ]
        }
        call = container.runtime.prepare(
            "create", "--bundle", container.bundle.path, container.id, bundle=container.bundle
        )
        call.argv[call.argv.index("--log") + 1] = os.fspath(log)
        box.runtime.run_prepared(call, timeout=5).failed("no such file or directory")
        assert stat.S_ISFIFO(log.lstat().st_mode)


class TestSockets:
    """--pidfd-socket and --console-socket: only a socket is connected to."""

    @pytest.mark.parametrize("option", ["--pidfd-socket", "--console-socket"])
    def test_nothing_is_replaced_and_nothing_created(
        self, box: Box, decoy: Decoy, option: str
    ) -> None:
        bundle = box.bundle("/probe", "wait", terminal=option == "--console-socket")
        container = box.container(bundle)
        result = container.create(option, decoy.path, timeout=5).failed(str(decoy.path))
        if not decoy.path.is_socket():
            assert "not a socket" in result.said or "no such file" in result.said
        decoy.check()
        box.runtime.call("state", container.id).failed("does not exist")

    @pytest.mark.parametrize("option", ["--pidfd-socket", "--console-socket"])
    def test_a_full_backlog_is_an_error_and_no_wait(self, box: Box, option: str) -> None:
        path = box.folder / "full"
        with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as first:
            listener.bind(os.fspath(path))
            listener.listen(0)
            first.connect(os.fspath(path))
            bundle = box.bundle("/probe", "wait", terminal=option == "--console-socket")
            container = box.container(bundle)
            container.create(option, path, timeout=5).failed(str(path), "backlog is full")
        box.runtime.call("state", container.id).failed("does not exist")
