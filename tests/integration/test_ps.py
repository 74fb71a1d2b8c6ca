"""`ps`, `pause` and `resume`, and signals to more than init.

Source: docs/runc-compat/cli.md#kill, docs/runc-compat/cli.md#ps,
docs/runc-compat/cli.md#pause-and-resume.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from harness.box import Box, Container
from harness.needs import needs
from harness.peers import peer_deviates
from harness.runtime import Result, wait_until

pytestmark = needs("root")


def ps(container: Container, *words: str) -> Result:
    return container.runtime.call("ps", *words)


def add_sleeper(container: Container, name: str = "pid") -> int:
    """Run one more process in the container; give its pid on the host."""
    file = container.bundle.path / name
    container.exec("/bin/sleep", "1000", flags=("--detach", "--pid-file", file)).ok()
    return int(file.read_text())


def is_gone(pid: int) -> bool:
    """Return whether the process is dead; it is reaped if it is ours."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


class TestPs:
    """The processes of the container, and of no other."""

    def test_json_lists_the_pids(self, box: Box) -> None:
        container = box.running()
        assert ps(container, "--format", "json", container.id).ok().json() == [container.pid]
        more = add_sleeper(container)
        call = ps(container, "-f", "json", container.id).ok()
        assert sorted(call.json()) == sorted([container.pid, more])

    @peer_deviates("crun", "indents")
    def test_the_json_is_one_line(self, box: Box) -> None:
        container = box.running()
        assert ps(container, "-f", "json", container.id).ok().stdout == f"[{container.pid}]\n"

    @peer_deviates("crun", "prints an empty list")
    def test_the_json_of_a_stopped_container(self, box: Box) -> None:
        container = box.running()
        container.stop()
        assert ps(container, "-f", "json", container.id).ok().stdout == "null\n"

    def test_a_created_container_has_its_init(self, box: Box) -> None:
        container = box.created()
        assert ps(container, "-f", "json", container.id).ok().json() == [container.pid]

    @peer_deviates("crun", "has a column of pids only")
    @needs("tool ps")
    def test_the_table_has_the_rows_of_the_container(self, box: Box) -> None:
        container = box.running()
        header, *rows = ps(container, container.id).ok().stdout.splitlines()
        assert header.split()[:3] == ["UID", "PID", "PPID"]
        assert [row.split()[1] for row in rows] == [str(container.pid)]

    @peer_deviates("crun", "takes no options of ps")
    @needs("tool ps")
    @pytest.mark.parametrize("words", [("-e", "-o", "pid,comm"), ("-eo", "pid,comm")])
    def test_options_of_ps(self, box: Box, words: tuple[str, ...]) -> None:
        container = box.running()
        header, *rows = ps(container, container.id, *words).ok().stdout.splitlines()
        assert header.split() == ["PID", "COMMAND"]
        assert [row.split() for row in rows] == [[str(container.pid), "probe"]]

    @peer_deviates("runc", "takes it for one option")
    @peer_deviates("crun", "takes no options of ps")
    @needs("tool ps")
    def test_options_of_ps_in_one_word(self, box: Box) -> None:
        """So containerd gives them."""
        container = box.running()
        call = ps(container, container.id, "-e -o pid,comm")
        assert call.ok().stdout.splitlines()[0].split() == ["PID", "COMMAND"]

    @peer_deviates("crun", "takes no options of ps")
    @needs("tool ps")
    @pytest.mark.parametrize("words", [("-e", "-o", "comm"), ("-e", "-o", "pid=")])
    def test_a_table_without_pids(self, box: Box, words: tuple[str, ...]) -> None:
        container = box.running()
        ps(container, container.id, *words).failed("couldn't find PID field in ps output")

    @peer_deviates("crun", "takes no options of ps")
    @needs("tool ps")
    def test_options_ps_does_not_know(self, box: Box) -> None:
        container = box.running()
        ps(container, container.id, "--no-such-option").failed("option")

    @peer_deviates("crun", "has other words")
    def test_an_unknown_format(self, box: Box) -> None:
        container = box.running()
        ps(container, "--format", "yaml", container.id).failed("invalid format option")

    def test_an_unknown_container(self, box: Box) -> None:
        ps(box.container(), "--format", "json", "no-such").failed("does not exist")


class TestPause:
    """Stop where it is, and go on."""

    def test_a_paused_container_stands_still_until_resume(self, box: Box) -> None:
        container = box.running(
            None, "sh", "-c", "echo ready; while :; do echo x; sleep 0.02; done"
        )
        container.wait_output("x")
        container.runtime.call("pause", container.id).ok()
        assert container.status == "paused"
        before = container.output
        time.sleep(0.1)
        assert before == container.output
        container.runtime.call("resume", container.id).ok()
        assert container.status == "running"
        wait_until(lambda: len(container.output) > len(before), "more output")

    def test_every_process_stops(self, box: Box) -> None:
        container = box.running()
        more = add_sleeper(container)
        container.runtime.call("pause", container.id).ok()
        assert sorted(ps(container, "-f", "json", container.id).json()) == sorted(
            [container.pid, more]
        )
        container.runtime.call("resume", container.id).ok()

    def test_a_paused_container_cannot_be_paused(self, box: Box) -> None:
        container = box.running()
        container.runtime.call("pause", container.id).ok()
        container.runtime.call("pause", container.id).failed("not running")

    def test_resume_of_one_that_runs(self, box: Box) -> None:
        container = box.running()
        container.runtime.call("resume", container.id).failed("not paused")

    @pytest.mark.parametrize(("verb", "text"), [("pause", "not running"), ("resume", "not paused")])
    def test_a_stopped_container(self, box: Box, verb: str, text: str) -> None:
        container = box.running()
        container.stop()
        container.runtime.call(verb, container.id).failed(text)

    @pytest.mark.parametrize("verb", ["pause", "resume", "ps"])
    def test_an_unknown_container(self, box: Box, verb: str) -> None:
        box.runtime.call(verb, "no-such").failed("does not exist")

    def test_a_created_container(self, box: Box) -> None:
        container = box.created()
        container.runtime.call("pause", container.id).ok()
        assert container.status == "paused"
        assert container.start().status == 1
        container.runtime.call("resume", container.id).ok()
        assert container.status == "created"
        container.finished()

    def test_a_paused_container_can_be_killed(self, box: Box) -> None:
        container = box.running()
        container.runtime.call("pause", container.id).ok()
        container.kill("KILL").ok()
        container.wait_status("stopped")

    def test_a_signal_waits_for_resume(self, box: Box) -> None:
        container = box.running(None, "/probe", "trap")
        container.runtime.call("pause", container.id).ok()
        container.kill("USR1").ok()
        assert "got 10" not in container.output
        container.runtime.call("resume", container.id).ok()
        container.wait_output("got 10")


class TestKill:
    """Signals to every process, and to containers whose init is not process 1."""

    @peer_deviates("runc", "sends only KILL to all", sometimes=True)
    def test_all_get_the_signal(self, box: Box) -> None:
        container = box.running(None, "/probe", "trap")
        call = container.exec("/probe", "trap", flags=("--detach",)).ok()
        wait_until(lambda: "ready" in call.stdout, "ready")
        container.runtime.call("kill", "--all", container.id, "USR2").ok()
        container.wait_output("got 12")
        wait_until(lambda: "got 12" in call.stdout, "got 12")

    def test_one_alone_without_all(self, box: Box) -> None:
        container = box.running(None, "/probe", "trap")
        call = container.exec("/probe", "trap", flags=("--detach",)).ok()
        wait_until(lambda: "ready" in call.stdout, "ready")
        container.kill("USR2").ok()
        container.wait_output("got 12")
        assert "got" not in call.stdout

    @peer_deviates("runc", "1.1 leaves the others alive", sometimes=True)
    def test_kill_of_a_shared_pid_namespace_takes_all(self, box: Box) -> None:
        bundle = box.bundle("/probe", "wait")
        bundle.drop_namespace("pid")
        container = box.running(bundle)
        more = add_sleeper(container)
        pid = container.pid
        container.kill("KILL").ok()
        wait_until(lambda: is_gone(pid) and is_gone(more), "the end of both")

    def test_all_of_a_stopped_container_is_no_failure(self, box: Box) -> None:
        bundle = box.bundle("/probe", "wait")
        bundle.drop_namespace("pid")
        container = box.running(bundle)
        more = add_sleeper(container)
        os.kill(container.pid, 9)
        container.wait_status("stopped")
        container.runtime.call("kill", "--all", container.id, "KILL").ok()
        wait_until(lambda: is_gone(more), "the end of the other")

    def test_deleting_a_shared_pid_namespace_takes_all(self, box: Box) -> None:
        bundle = box.bundle("/probe", "wait")
        bundle.drop_namespace("pid")
        container = box.running(bundle)
        more = add_sleeper(container)
        container.delete("--force").ok()
        wait_until(lambda: is_gone(more), "the end of the other")


class TestWithoutCgroup:
    """`--cgroup-manager=disabled`: nothing lists or counts the container's processes."""

    @needs("ours")
    def test_ps_shows_the_processes_of_the_pid_namespace_and_warns(self, box: Box) -> None:
        box.runtime.settings = ["--cgroup-manager=disabled"]
        container = box.running()
        sleeper = add_sleeper(container)
        result = ps(container, "--format", "json", container.id).ok()
        assert result.json() == sorted([container.pid, sleeper])
        assert "has no cgroup" in result.log

    @needs("ours")
    def test_ps_shows_init_where_the_pid_namespace_is_the_hosts(self, box: Box) -> None:
        box.runtime.settings = ["--cgroup-manager=disabled"]
        bundle = box.bundle("sleep", "1000")
        bundle.config["linux"]["namespaces"].remove({"type": "pid"})
        container = box.running(bundle)
        assert ps(container, "--format", "json", container.id).ok().json() == [container.pid]

    @needs("ours")
    def test_top_shows_a_dash_and_warns(self, box: Box) -> None:
        box.runtime.settings = ["--cgroup-manager=disabled"]
        container = box.running()
        result = box.runtime.call("top", "--once", "--interval", "100ms", container.id).ok()
        assert result.stdout.splitlines()[1].split() == [container.id, "running", *"---------"]
        assert "has no cgroup" in result.log
