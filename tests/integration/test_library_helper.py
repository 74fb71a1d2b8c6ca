"""The helper that clones inits for a program: clean, its own, and no harm when it dies.

Source: ocirun/process/helper.py; docs/library.md#the-helper.
"""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from harness.box import Box
from harness.leaks import descendants, words
from harness.needs import needs

import ocirun
from ocirun.process import helper

pytestmark = needs("root", "ours")


def run(box: Box, *args: str) -> ocirun.CompletedContainer:
    rootfs = box.bundle().rootfs
    return ocirun.run(args, rootfs=rootfs, root=str(box.runtime.root), capture_output=True)


def own_helpers() -> list[int]:
    """The pids of helpers that are children of this program; does not end them."""
    found = []
    for name in Path("/proc").iterdir():
        if name.name.isdigit():
            try:
                stat = Path(name, "stat").read_text().rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if int(stat[1]) == os.getpid() and words(int(name.name)).endswith("ocirun init "):
                found.append(int(name.name))
    return found


def test_one_serves_all_and_has_nothing_of_the_program(box: Box) -> None:
    reading, writing = os.pipe()
    os.set_inheritable(writing, True)
    try:
        assert [run(box, "true").returncode for _ in range(3)] == [0, 0, 0]
        [pid] = own_helpers()
        assert Path(f"/proc/{pid}/environ").read_bytes() == b""
        links = {fd.name: os.readlink(fd) for fd in Path(f"/proc/{pid}/fd").iterdir()}
        assert links.pop("0") == links.pop("1") == "/dev/null"
        assert sorted(link.partition(":")[0] for link in links.values()) == [
            "anon_inode",
            "pipe",
            "socket",
        ]
        assert os.readlink(f"/proc/{pid}/fd/2") != os.readlink(f"/proc/self/fd/{writing}")
        assert os.readlink(f"/proc/{pid}/cwd") == "/"
        assert os.getsid(pid) == pid
    finally:
        os.close(reading)
        os.close(writing)


def test_a_killed_one_is_replaced(box: Box) -> None:
    run(box, "true")
    [pid] = own_helpers()
    os.kill(pid, signal.SIGKILL)
    _wait_until(lambda: not _is_running(pid))
    assert run(box, "sh", "-c", "exit 7").returncode == 7
    assert own_helpers() != [pid]
    assert not Path(f"/proc/{pid}").exists()


def test_its_death_in_between_is_an_error_and_leaves_nothing(box: Box) -> None:
    run(box, "true")
    [pid] = own_helpers()
    os.kill(pid, signal.SIGSTOP)
    errors: list[str] = []

    def make() -> None:
        try:
            run(box, "true")
        except ocirun.SetupError as error:
            errors.append(str(error))

    thread = threading.Thread(target=make)
    thread.start()
    time.sleep(0.3)
    os.kill(pid, signal.SIGKILL)
    thread.join(20)
    assert errors == ["the helper that clones init for this program died"]
    assert run(box, "true").returncode == 0


def test_containers_outlive_it(box: Box) -> None:
    spec = ocirun.Spec(["sh", "-c", "read a; exit 7"], box.bundle().rootfs)
    root = str(box.runtime.root)
    with ocirun.Container.run(None, spec, root=root, stdin=ocirun.PIPE) as container:
        [pid] = own_helpers()
        os.kill(pid, signal.SIGKILL)
        _wait_until(lambda: not _is_running(pid))
        assert container.exec(["true"]).wait(20) == 0
        container.communicate(b"\n", 20)
        assert container.returncode == 7


def test_what_children_inherit_may_change(box: Box) -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    script = ["sh", "-c", "ulimit -n"]
    config = ocirun.Spec(script, box.bundle().rootfs).build()
    config["process"].pop("rlimits", None)
    root = str(box.runtime.root)

    def limit() -> bytes:
        done = ocirun.run(config=config, root=root, capture_output=True)
        out: bytes = done.stdout.strip()
        return out

    limit()
    resource.setrlimit(resource.RLIMIT_NOFILE, (limits[0] - 1, limits[1]))
    try:
        assert limit() == str(limits[0] - 1).encode()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert limit() == str(limits[0]).encode()
    assert len(own_helpers()) == 1


def test_a_fork_has_its_own(box: Box) -> None:
    spec = ocirun.Spec(["sh", "-c", "exit 7"], box.bundle().rootfs)
    root = str(box.runtime.root)
    assert ocirun.run(config=spec, root=root).returncode == 7
    mine = own_helpers()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            done = ocirun.run(config=spec, root=root)
            if done.returncode == 7 and own_helpers() and own_helpers() != mine:
                status = 0
            helper.close()
        finally:
            os._exit(status)
    assert os.waitpid(pid, 0)[1] == 0
    assert ocirun.run(config=spec, root=root).returncode == 7
    assert own_helpers() == mine


def program(box: Box, code: str) -> subprocess.Popen[bytes]:
    """Start a program that has used the library once, then does `code`."""
    prelude = (
        "import os, sys, time\n"
        "import ocirun\n"
        "from ocirun.process import helper\n"
        "root, rootfs = sys.argv[1:]\n"
        "def run():\n"
        "    return ocirun.run(['true'], rootfs=rootfs, root=root).returncode\n"
        "run()\n"
    )
    words = [sys.executable, "-I", "-c", prelude + code, box.runtime.root, box.bundle().rootfs]
    return subprocess.Popen(words, stdout=subprocess.PIPE, cwd="/")


def test_a_program_that_waits_for_all_children_closes_it(box: Box) -> None:
    code = """
ocirun.close_helper()
try:
    print(os.wait())
except ChildProcessError:
    print("no child", run())
ocirun.close_helper()
ocirun.close_helper()
"""
    assert program(box, code).communicate(timeout=20)[0] == b"no child 0\n"


def test_rights_that_are_given_up_are_not_kept_by_way_of_it(box: Box) -> None:
    """Neither by the program, nor by a fork of it that has the descriptor still."""
    code = """
import _socket
from ocirun.process.channel import channel_pair, PeerGone

def order():
    ours, theirs = channel_pair()
    try:
        sender.send({"stage": True}, [theirs.fileno()])
    except BrokenPipeError:
        return "refused"
    theirs.close()
    try:
        return ours.receive("procStage")[0]
    except PeerGone:
        return "refused"

[sender] = helper._helpers
helper._helpers.clear()  # else a fork would close it
print(order(), flush=True)
%s
print(order(), flush=True)
os._exit(0)
"""
    in_a_fork = "pid = os.fork(); pid and (os.waitpid(pid, 0), os._exit(0))"
    for act in ("os.setgid(1); os.setuid(1)", in_a_fork):
        process = program(box, code % act)
        out, _ = process.communicate(timeout=60)
        assert out.split() == [b"procStage", b"refused"]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_it_ends_with_its_program(box: Box, number: int) -> None:
    process = program(box, "print(helper._helpers[0]._pidfd, flush=True); time.sleep(100)")
    assert process.stdout
    process.stdout.readline()
    below = [pid for pid in _children(process.pid) if words(pid).endswith("ocirun init ")]
    assert len(below) == 1
    process.send_signal(number)
    process.communicate(timeout=20)
    end = time.monotonic() + 20
    while _is_running(below[0]):
        assert time.monotonic() < end
        time.sleep(0.01)


def test_the_thread_that_started_it_may_end(box: Box) -> None:
    """Init dies with its parent, which is a thread (PR_SET_PDEATHSIG): one that stays."""
    bundle = box.bundle("/probe", "exit", "7")
    bundle.config["hooks"] = {"createContainer": [{"path": "/bin/sleep", "args": ["sleep", "1"]}]}
    bundle.save()
    root = str(box.runtime.root)
    stop = threading.Event()
    found: list[int] = []
    first = threading.Thread(target=lambda: (run(box, "true"), stop.wait(20)))
    helper.close()
    first.start()
    _wait_until(lambda: bool(own_helpers()))

    def make() -> None:
        found.append(ocirun.run(config=bundle.path, root=root, stdin=ocirun.DEVNULL).returncode)

    second = threading.Thread(target=make)
    second.start()
    time.sleep(0.5)
    stop.set()
    second.join(20)
    assert found == [7]


def _children(pid: int) -> list[int]:
    return [other for other in descendants() if _parent(other) == pid]


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return 0


def _is_running(pid: int) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def _wait_until(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.01)
