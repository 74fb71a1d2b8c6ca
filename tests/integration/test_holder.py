"""The process that holds a place, as for a scope of systemd until init is there."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest
from harness.runtime import wait_until

from ocirun.kernel._native import ffi, lib
from ocirun.kernel.holder import Holder
from ocirun.kernel.userns import UserNamespaceHolder

pytestmark = pytest.mark.integration


def test_it_has_nothing_open_and_is_gone_afterwards() -> None:
    secret, theirs = os.pipe()
    os.set_inheritable(theirs, True)
    holder = Holder()
    wait_until(lambda: os.listdir(f"/proc/{holder.pid}/fd") == [], "nothing is open")
    holder.end()
    holder.end()
    assert not Path(f"/proc/{holder.pid}").exists()
    os.close(theirs)
    assert os.read(secret, 1) == b""
    os.close(secret)


def test_only_a_kill_ends_it() -> None:
    holder = Holder()
    wait_until(lambda: blocked(holder.pid) >> (signal.SIGTERM - 1) & 1, "signals are blocked")
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        os.kill(holder.pid, number)
    assert Path(f"/proc/{holder.pid}/stat").read_text().rpartition(")")[2].split()[0] in "SR"
    holder.end()


def blocked(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("SigBlk")), 16)


def test_it_dies_with_who_made_it() -> None:
    told, tell = os.pipe()
    maker = os.fork()
    if maker == 0:
        os.write(tell, str(Holder().pid).encode())
        signal.pause()
    pid = int(os.read(told, 20))
    assert Path(f"/proc/{pid}").exists()
    os.kill(maker, signal.SIGKILL)
    os.waitpid(maker, 0)
    wait_until(lambda: is_gone(pid), "the holder is gone")
    os.close(told)
    os.close(tell)


def is_gone(pid: int) -> bool:
    """Gone, or waiting for its new parent to reap it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_threads_do_not_matter() -> None:
    ends = threading.Event()
    busy = [threading.Thread(target=ends.wait) for _ in range(3)]
    for thread in busy:
        thread.start()
    pids = set()
    for _ in range(50):
        holder = Holder()
        pids.add(holder.pid)
        holder.end()
    ends.set()
    for thread in busy:
        thread.join()
    assert [pid for pid in pids if not is_gone(pid)] == []


def test_one_in_a_user_namespace_does_not_outlive_a_maker_that_died_at_once() -> None:
    """The maker can be killed before the holder has asked to die with it.

    On one processor the maker ends first.
    """
    left = []
    for _ in range(20):
        told, tell = os.pipe()
        maker = os.fork()
        if maker == 0:
            os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
            pid = lib.sys_hold_userns(-1, tell, ffi.new("int *", -1))
            os.write(tell, str(max(pid, 0)).encode())
            os._exit(0)
        os.waitpid(maker, 0)
        pid = int(os.read(told, 20))
        os.close(told)
        os.close(tell)
        assert pid > 0  # Danger: kill(2) takes 0 and -1 for many processes
        left.append(pid)
    try:
        wait_until(lambda: all(map(is_gone, left)), "the holders are gone")
    finally:
        for pid in left:
            if not is_gone(pid):
                os.kill(pid, signal.SIGKILL)


def test_the_death_of_one_in_a_user_namespace_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was waited for without an end."""
    real = lib.sys_hold_userns

    class Lib:
        def sys_hold_userns(self, join_fd: int, told: int, pidfd: object) -> int:
            del join_fd
            # As if it had been killed before it said anything.
            pid: int = real(-1, told, pidfd)
            assert pid > 0  # Danger: kill(2) takes -1 for all processes
            os.kill(pid, signal.SIGKILL)
            return pid

    monkeypatch.setattr("ocirun.kernel.userns.lib", Lib())
    with (
        open("/proc/self/ns/user") as namespace,
        pytest.raises(OSError, match="No child processes"),
        UserNamespaceHolder(namespace.fileno()),
    ):
        pass
