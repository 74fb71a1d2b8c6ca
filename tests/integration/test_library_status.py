"""The exit status of a container is not lost, whoever waits, and no zombie stays.

Source: docs/library.md#exit-status; waitid(2), pidfd_open(2).
"""

from __future__ import annotations

import os
import platform
import signal
import sys
import threading
import time
from pathlib import Path

import pytest
from harness.box import Box
from harness.leaks import descendants
from harness.machine import MARK
from harness.needs import needs

import ocirun

pytestmark = needs("root", "ours")

KERNEL = tuple(int(part) for part in platform.release().split("-")[0].split(".")[:2])
KEEPS_STATUS = KERNEL >= (6, 15)  # for who holds a pidfd


def spec(box: Box, *args: str) -> ocirun.Spec:
    return ocirun.Spec(args, box.bundle().rootfs)


def start(box: Box, *args: str) -> ocirun.Container:
    name = f"{MARK}-{box.folder.name}"
    return ocirun.Container.run(name, spec(box, *args), root=str(box.runtime.root))


def zombies() -> list[int]:
    return [pid for pid in descendants() if ") Z " in Path(f"/proc/{pid}/stat").read_text()]


def test_twenty_at_once_from_threads(box: Box) -> None:
    root, config = str(box.runtime.root), spec(box, "true").build()
    found: dict[int, tuple[int, bytes]] = {}

    def work(number: int) -> None:
        words = ["sh", "-c", f"echo {number}; exit {number}"]
        done = ocirun.run(words, config=config, root=root, capture_output=True)
        found[number] = done.returncode, done.stdout

    threads = [threading.Thread(target=work, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {number: (number, f"{number}\n".encode()) for number in range(20)}
    assert zombies() == []


@pytest.mark.skipif(not KEEPS_STATUS, reason="needs Linux 6.15")
def test_another_part_of_the_program_waits_for_all_children(box: Box) -> None:
    with start(box, "sh", "-c", "exit 7") as container:
        assert os.waitpid(-1, 0)[0] == container.pid
        assert container.wait(60) == 7


def test_where_the_kernel_keeps_no_status_the_answer_says_why(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ocirun.library.child.status_of_reaped", lambda _: None)
    with start(box, "sh", "-c", "exit 7") as container:
        os.waitpid(-1, 0)
        with pytest.raises(ocirun.ExitStatusUnknown, match=r"another part of this program"):
            container.wait(60)
        with pytest.raises(ocirun.ExitStatusUnknown):
            container.poll()
        assert container.returncode is None


def test_sigchld_is_ignored(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        with start(box, "sh", "-c", "exit 7") as container:
            if KEEPS_STATUS:
                assert container.wait(60) == 7
        monkeypatch.setattr("ocirun.library.child.status_of_reaped", lambda _: None)
        with (
            start(box, "sh", "-c", "exit 7") as container,
            pytest.raises(ocirun.ExitStatusUnknown, match="ignores SIGCHLD"),
        ):
            container.wait(60)
    finally:
        signal.signal(signal.SIGCHLD, before)


def test_a_fork_of_the_program_may_wait(box: Box) -> None:
    reading, writing = os.pipe()
    with start(box, "sh", "-c", "sleep 1; exit 7") as container:
        pid = os.fork()
        if pid == 0:
            try:
                os.write(writing, str(container.wait(60)).encode())
            finally:
                os._exit(0)
        os.close(writing)
        assert os.read(reading, 100) == b"7"
        os.close(reading)
        os.waitpid(pid, 0)
        assert container.wait(60) == 7


def in_another_program(container: ocirun.Container, seconds: float = 60) -> str:
    """What `wait` of a program that finds the container again returns or raises."""
    code = (
        "import ocirun, sys\n"
        "try:\n"
        f"    print(ocirun.Container(sys.argv[1], root=sys.argv[2]).wait({seconds}))\n"
        "except ocirun.OcirunError as error:\n"
        "    print(type(error).__name__, error)\n"
    )
    reading, writing = os.pipe()
    pid = os.posix_spawn(
        sys.executable,
        [sys.executable, "-I", "-c", code, container.id, container.root],
        os.environ,
        file_actions=[(os.POSIX_SPAWN_DUP2, writing, 1)],
    )
    os.close(writing)
    with open(reading) as file:
        text = file.read()
    os.waitpid(pid, 0)
    return text.strip()


def test_found_again_while_it_runs(box: Box) -> None:
    with start(box, "sh", "-c", "sleep 1; exit 7") as container:
        assert in_another_program(container, 0.1).startswith("TimeoutExpired")
        assert in_another_program(container) == "7"
        assert container.wait(60) == 7


def test_found_again_after_its_end(box: Box) -> None:
    with start(box, "sh", "-c", "exit 7") as container:
        while container.status != "stopped":
            time.sleep(0.01)
        assert in_another_program(container) == "7"  # a zombie, which shows its status
        assert container.wait(60) == 7
        assert in_another_program(container) == "7"  # written down
        assert ocirun.Container(container.id, root=container.root).wait(60) == 7


def test_found_again_of_a_program_that_nobody_waited_for(box: Box) -> None:
    container = start(box, "sh", "-c", "exit 7")
    found = ocirun.Container(container.id, root=container.root)
    pid = container.pid
    del container
    while found.status != "stopped":
        time.sleep(0.01)
    # The next call of the library reaps it, and its status stays.
    assert ocirun.Container.list(root=found.root) == [found]
    assert pid not in descendants()
    assert found.wait(60) == 7
    found.delete()


def test_one_of_the_command_line_cannot_be_known(box: Box) -> None:
    made = box.running(box.bundle("sh", "-c", "exit 7"))
    made.wait_status("stopped")
    for pid in zombies():  # it has come to us, a subreaper
        os.waitpid(pid, 0)
    container = ocirun.Container(made.id, root=str(box.runtime.root))
    with pytest.raises(ocirun.ExitStatusUnknown, match="its parent has reaped it"):
        container.wait(60)
    with pytest.raises(ocirun.ContainerNotFound):
        ocirun.Container("nobody", root=str(box.runtime.root)).wait(60)


def test_a_damaged_status_is_not_believed(box: Box) -> None:
    with start(box, "sh", "-c", "exit 7") as container:
        assert container.wait(60) == 7
        file = box.runtime.root / container.id / "exit"
        for text in ("", "[]", '{"pid":1,"start":1,"returncode":0}', "\0"):
            file.write_text(text)
            with pytest.raises(ocirun.ExitStatusUnknown):
                ocirun.Container(container.id, root=container.root).wait(60)
