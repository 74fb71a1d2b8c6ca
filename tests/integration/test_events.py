"""`events`: what a container uses, and when its memory runs out.

Source: docs/runc-compat/cli.md#events; runc-events(8).
"""
# ruff: noqa: ANN401  # documents are JSON

from __future__ import annotations

import json
import os
import select
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from harness.box import Box, Container
from harness.bundle import Bundle
from harness.needs import needs
from harness.peers import peer_deviates
from harness.runtime import Result, finish, wait_until

pytestmark = [
    needs("root"),
    peer_deviates("crun", "has no such verb", sometimes=True),
]

MB = 1 << 20
# A process of the container that takes more memory than it may; init lives on.
GREEDY = "echo ready; read go < /fifo; dd if=/dev/zero of=/dev/null bs=96M count=1; sleep 1000"


def events(container: Container, *flags: str) -> Result:
    return container.runtime.call("events", *flags, container.id)


def follow(container: Container, *flags: str, **keys: Any) -> tuple[subprocess.Popen[bytes], Any]:
    """Begin to follow, and give (process, function that gives the whole lines so far)."""
    process, result = container.runtime.spawn("events", *flags, container.id, **keys)
    return process, lambda: [json.loads(line) for line in result.stdout.split("\n")[:-1]]


def stats(container: Container) -> Any:
    return events(container, "--stats").ok().json()["data"]


def limited(box: Box, *args: str, **resources: Any) -> Bundle:
    bundle = box.bundle(*(args or ("/probe", "wait")))
    bundle.linux["resources"] = resources
    return bundle


def greedy(box: Box) -> Container:
    """Return a container of 32 MB that takes 96 once its fifo is opened."""
    bundle = limited(box, "sh", "-c", GREEDY, memory={"limit": 32 * MB, "swap": 32 * MB})
    os.mkfifo(bundle.rootfs / "fifo")
    container = box.running(bundle)
    container.wait_output("ready")
    return container


def let_go(container: Container) -> None:
    with (container.bundle.rootfs / "fifo").open("w") as fifo:
        fifo.write("go\n")


class TestStats:
    """One line with everything that is counted."""

    @pytest.mark.lab
    def test_one_line_of_json(self, box: Box) -> None:
        container = box.running()
        line = events(container, "--stats").ok().stdout
        assert line.count("\n") == 1
        event = json.loads(line)
        assert list(event) == ["type", "id", "data"]
        assert (event["type"], event["id"]) == ("stats", container.id)
        keys = [
            "cpu",
            "cpuset",
            "memory",
            "pids",
            "blkio",
            "hugetlb",
            "intel_rdt",
            "network_interfaces",
        ]
        assert [key for key in event["data"] if key not in ("rdma", "misc")] == keys
        assert event["data"]["network_interfaces"] is None

    @pytest.mark.lab
    @needs("cgroup memory")
    def test_limits_and_what_is_used(self, box: Box) -> None:
        memory = {"limit": 64 * MB}
        container = box.running(limited(box, memory=memory, pids={"limit": 17}))
        found = stats(container)
        assert found["memory"]["usage"]["limit"] == 64 * MB
        assert 0 < found["memory"]["usage"]["usage"] < 64 * MB
        assert found["memory"]["raw"]["pgfault"] > 0
        assert found["pids"] == {"current": 1, "limit": 17}

    @pytest.mark.lab
    def test_time_goes_on(self, box: Box) -> None:
        container = box.running(None, "sh", "-c", "echo ready; while :; do :; done")
        container.wait_output("ready")
        before = stats(container)["cpu"]["usage"].get("total", 0)
        time.sleep(0.3)
        assert stats(container)["cpu"]["usage"]["total"] - before > 20_000_000

    @pytest.mark.parametrize("status", ["created", "paused"])
    def test_a_container_that_does_not_run_yet_or_now(self, box: Box, status: str) -> None:
        container = box.created() if status == "created" else box.running()
        if status == "paused":
            container.runtime.call("pause", container.id).ok()
        assert stats(container)["pids"]["current"] >= 1  # the init of runc has threads
        assert container.status == status
        if status == "paused":
            container.runtime.call("resume", container.id).ok()

    @pytest.mark.parametrize("flags", [(), ("--stats",)])
    def test_a_stopped_container(self, box: Box, flags: tuple[str, ...]) -> None:
        container = box.running()
        container.stop()
        call = events(container, *flags)
        call.failed(f"container with id {container.id} is not running")

    def test_an_unknown_container(self, box: Box) -> None:
        box.runtime.call("events", "--stats", "no-such").failed("does not exist")

    @pytest.mark.parametrize(
        ("interval", "words"),
        [
            ("0s", "duration interval must be greater than 0"),
            ("-1s", "duration interval must be greater than 0"),
            ("5", 'invalid value "5" for flag -interval: parse error'),
            ("soon", 'invalid value "soon" for flag -interval: parse error'),
        ],
    )
    @pytest.mark.parametrize("flags", [(), ("--stats",)])
    def test_an_interval_that_is_none(
        self, box: Box, interval: str, words: str, flags: tuple[str, ...]
    ) -> None:
        events(box.running(), f"--interval={interval}", *flags).failed(words)


class TestFollowing:
    """Lines until the container stops."""

    @pytest.mark.lab
    @peer_deviates("runc", "goes on while the cgroup is there", sometimes=True)
    def test_lines_come_at_the_interval_until_the_end(self, box: Box) -> None:
        container = box.running()
        begin = time.monotonic()
        process, lines = follow(container, "--interval=200ms")
        wait_until(lambda: len(lines()) >= 3, "three lines")
        assert time.monotonic() - begin > 0.55
        assert {line["type"] for line in lines()} == {"stats"}
        container.stop()
        assert process.wait(5) == 0

    def test_it_ends_when_the_container_is_deleted(self, box: Box) -> None:
        container = box.running()
        process, lines = follow(container, "--interval=300ms")
        wait_until(lines, "a line")
        container.delete("--force").ok()
        assert process.wait(10) == 0

    @peer_deviates("runc", "notices only at the next line", sometimes=True)
    def test_it_ends_when_nobody_reads(self, box: Box) -> None:
        container = box.running()
        out, into = os.pipe()
        process, result = container.runtime.spawn(
            "events", "--interval=1h", container.id, stdout=into
        )
        os.close(into)
        os.close(out)
        assert finish(process, result, 5).status == 0
        assert result.stderr == ""

    def test_a_line_that_nobody_reads_is_the_last(self, box: Box) -> None:
        """With SIGPIPE as a shell leaves it, the end is a quick one."""
        container = box.running()
        command = box.runtime.prepare("events", "--interval=50ms", container.id).argv
        reader = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert reader.stdout is not None
        assert json.loads(reader.stdout.readline())["type"] == "stats"
        reader.stdout.close()
        assert reader.wait(5) in (0, -13)

    @needs("ours")
    def test_a_closed_stdout_is_refused(self, box: Box) -> None:
        container = box.running()
        command = [*box.runtime.prepare("events", "--stats", container.id).argv]
        shell = ["sh", "-c", 'exec "$@" >&-', "sh", *command]
        done = subprocess.run(shell, capture_output=True, check=False)
        assert done.returncode == 1
        assert b"writing to standard output: bad file descriptor" in done.stderr

    def test_an_interrupt_ends_it(self, box: Box) -> None:
        container = box.running()
        process, lines = follow(container, "--interval=50ms")
        wait_until(lines, "a line")
        process.send_signal(2)
        assert process.wait(5) != 0
        assert container.status == "running"


@pytest.mark.lab
@needs("cgroup memory")
class TestOom:
    """A line when the kernel kills for want of memory."""

    def test_a_process_is_killed_and_it_is_told(self, box: Box) -> None:
        container = greedy(box)
        process, lines = follow(container, "--interval=300ms")
        wait_until(lines, "a line: it registers before")
        let_go(container)
        wait_until(lambda: {"type": "oom", "id": container.id} in lines(), "oom")
        container.delete("--force").ok()
        assert process.wait(10) == 0

    def test_one_that_was_before_is_not_told(self, box: Box) -> None:
        container = greedy(box)
        let_go(container)
        wait_until(lambda: len(container.state()) and not is_greedy(container), "the kill")
        process, lines = follow(container, "--interval=100ms")
        wait_until(lambda: len(lines()) >= 2, "lines")
        assert {line["type"] for line in lines()} == {"stats"}
        container.delete("--force").ok()
        assert process.wait(10) == 0

    @peer_deviates("runc", "may see the end first", sometimes=True)
    def test_the_end_of_init_for_want_of_memory_is_told_first(self, box: Box) -> None:
        script = GREEDY.replace("dd ", "exec dd ")
        bundle = limited(box, "sh", "-c", script, memory={"limit": 32 * MB, "swap": 32 * MB})
        os.mkfifo(bundle.rootfs / "fifo")
        container = box.running(bundle)
        container.wait_output("ready")
        process, lines = follow(container, "--interval=300ms")
        wait_until(lines, "a line: it registers before")
        let_go(container)
        container.wait_status("stopped")
        assert process.wait(5) == 0
        assert lines()[-1] == {"type": "oom", "id": container.id}


def is_greedy(container: Container) -> bool:
    """Return whether `dd` still runs, or has not begun yet."""
    call = container.runtime.call("ps", "--format", "json", container.id).ok().json()
    names = []
    for pid in call or ():
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as line:
                names.append(line.read().split(b"\0")[0])
        except OSError:
            continue
    return b"sleep" not in names


def test_a_full_pipe_holds_nothing_up_but_the_lines(box: Box) -> None:
    """A reader that does not read must not make the runtime collect lines."""
    container = box.running()
    out, into = os.pipe()
    process, result = container.runtime.spawn("events", "--interval=1ms", container.id, stdout=into)
    os.close(into)
    time.sleep(1)
    status = Path(f"/proc/{process.pid}/status").read_text()
    resident = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    assert int(resident.split()[1]) < 64 * 1024
    process.terminate()
    process.wait(5)
    poll = select.poll()
    poll.register(out, select.POLLIN)
    assert poll.poll(0)
    os.close(out)
    assert result.stderr == ""
