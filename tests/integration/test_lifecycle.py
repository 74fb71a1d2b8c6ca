"""The life of a container: create, start, state, kill, delete, list, run.

Source: runtime-spec runtime.md#lifecycle; docs/runc-compat/cli.md;
docs/runc-compat/state.md#status, docs/runc-compat/state.md#locking,
docs/runc-compat/state.md#leftovers.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime

import pytest
from harness.box import Box
from harness.peers import peer_deviates
from harness.runtime import wait_until


def test_a_container_lives_from_created_to_gone(box: Box) -> None:
    container = box.container(None, "/probe", "wait", "7")
    container.create().ok()
    assert container.status == "created"
    container.start().ok()
    container.wait_output("ready")
    assert container.status == "running"
    container.kill("TERM").ok()
    container.wait_status("stopped")
    container.delete().ok()
    box.runtime.call("state", container.id).failed("does not exist")


def test_the_program_runs_only_after_start(box: Box) -> None:
    container = box.created(None, "echo", "hello")
    assert container.output == ""
    assert container.finished() == "hello\n"


def test_verbs_that_succeed_say_nothing(box: Box) -> None:
    container = box.created(None, "/probe", "wait")
    for call in (container.start(), container.kill("KILL")):
        assert (call.status, call.stdout, call.stderr, call.log) == (0, "", "", "")
    container.wait_status("stopped")
    call = container.delete()
    assert (call.status, call.stdout, call.stderr, call.log) == (0, "", "", "")


class TestState:
    """`state` prints what callers decode."""

    def test_the_keys_are_runcs_in_their_order(self, box: Box) -> None:
        container = box.created()
        assert list(container.state()) == [
            "ociVersion",
            "id",
            "pid",
            "status",
            "bundle",
            "rootfs",
            "created",
            "owner",
        ]

    def test_the_values_are_those_of_the_container(self, box: Box) -> None:
        container = box.created()
        state = container.state()
        assert state["id"] == container.id
        assert state["bundle"] == str(container.bundle.path)
        assert state["rootfs"] == str(container.bundle.rootfs)
        assert state["owner"] == ""
        os.kill(state["pid"], 0)

    @peer_deviates("crun", "prints microseconds and the owner")
    def test_it_is_indented_by_two_and_ends_without_a_newline(self, box: Box) -> None:
        container = box.created()
        text = box.runtime.call("state", container.id).ok().stdout
        assert text.startswith('{\n  "ociVersion"')
        assert text.endswith("\n}")
        assert '"owner": ""' in text

    def test_created_is_a_time_of_now(self, box: Box) -> None:
        before = datetime.now(UTC)
        state = box.created().state()
        created = datetime.fromisoformat(state["created"])
        assert abs((created - before).total_seconds()) < 20
        assert state["created"].endswith("Z")

    def test_the_pid_of_a_stopped_container_is_0(self, box: Box) -> None:
        container = box.running()
        container.stop()
        assert container.pid == 0

    def test_annotations_appear_when_there_are_any(self, box: Box) -> None:
        bundle = box.bundle()
        bundle.config["annotations"] = {"org.example.k": "v/ä"}
        container = box.created(bundle)
        assert container.state()["annotations"] == {"org.example.k": "v/ä"}

    def test_the_pid_is_that_of_process_one(self, box: Box) -> None:
        container = box.running()
        with open(f"/proc/{container.pid}/status") as status:
            line = next(line for line in status if line.startswith("NSpid:"))
        assert line.split() == ["NSpid:", str(container.pid), "1"]

    def test_a_changed_config_has_no_effect(self, box: Box) -> None:
        container = box.created(None, "echo", "before")
        container.bundle.process["args"] = ["echo", "after"]
        container.bundle.config["annotations"] = {"late": "yes"}
        container.bundle.save()
        assert "annotations" not in container.state()
        assert container.finished() == "before\n"


class TestWrongStatus:
    """A verb refuses a status it may not act in, with the words callers match."""

    @pytest.mark.parametrize("verb", ["state", "start", "kill", "delete"])
    def test_an_unknown_id_does_not_exist(self, box: Box, verb: str) -> None:
        box.runtime.call(verb, "ocitest-no-such-container").failed("does not exist")

    def test_start_refuses_a_running_container(self, box: Box) -> None:
        container = box.running()
        container.start().failed("cannot start an already running container")
        assert container.status == "running"

    def test_start_refuses_a_stopped_container(self, box: Box) -> None:
        container = box.running()
        container.stop()
        container.start().failed("cannot start a container that has stopped")

    def test_kill_refuses_a_stopped_container(self, box: Box) -> None:
        container = box.running()
        container.stop()
        container.kill("TERM").failed("container not running")

    def test_kill_all_tolerates_a_stopped_container(self, box: Box) -> None:
        container = box.running()
        container.stop()
        container.kill("KILL").failed("container not running")
        box.runtime.call("kill", "--all", container.id, "KILL").ok()

    def test_delete_refuses_a_running_container(self, box: Box) -> None:
        container = box.running()
        container.delete().failed("cannot delete container", "that is not stopped: running")
        assert container.status == "running"

    def test_create_refuses_a_used_id(self, box: Box) -> None:
        container = box.created()
        again = box.runtime.call("create", "--bundle", container.bundle.path, container.id)
        again.failed("container with given ID already exists")
        assert container.status == "created"

    def test_create_refuses_the_id_of_a_stopped_container(self, box: Box) -> None:
        container = box.running()
        container.stop()
        again = box.runtime.call("create", "--bundle", container.bundle.path, container.id)
        again.failed("container with given ID already exists")
        assert container.status == "stopped"

    def test_run_refuses_a_used_id_and_leaves_its_owner_alone(self, box: Box) -> None:
        container = box.running()
        again = box.runtime.call("run", "--bundle", container.bundle.path, container.id)
        again.failed("container with given ID already exists")
        assert container.status == "running"


class TestKill:
    """Signals by number and by name."""

    @pytest.mark.parametrize("word", ["10", "USR1", "SIGUSR1", "usr1", "sigusr1"])
    def test_a_signal_has_many_spellings(self, box: Box, word: str) -> None:
        container = box.running(None, "/probe", "trap")
        container.kill(word).ok()
        container.wait_output("got 10")

    def test_the_default_is_sigterm(self, box: Box) -> None:
        container = box.running(None, "/probe", "trap")
        container.kill().ok()
        container.wait_output("got 15")

    @pytest.mark.parametrize("word", ["NOPE", "SIG", "99999", "-1", "1x"])
    def test_an_unknown_signal_is_refused(self, box: Box, word: str) -> None:
        container = box.running()
        call = box.runtime.call("kill", "--", container.id, word)
        assert call.status == 1
        assert container.status == "running"

    def test_the_words_for_an_unknown_signal(self, box: Box) -> None:
        container = box.running()
        container.kill("NOPE").failed('unknown signal "NOPE"')

    def test_signal_0_only_asks(self, box: Box) -> None:
        container = box.running()
        container.kill("0").ok()
        assert container.status == "running"

    def test_a_created_container_can_be_killed(self, box: Box) -> None:
        container = box.created()
        container.kill("KILL").ok()
        container.wait_status("stopped")
        container.delete().ok()

    def test_killing_takes_all_processes_of_the_container(self, box: Box) -> None:
        container = box.running(None, "sh", "-c", "sleep 100 & sleep 100 & echo ready; wait")
        container.wait_output("ready")
        container.stop()
        container.delete().ok()

    def test_sigkill_without_a_pid_namespace_kills_everything(self, box: Box) -> None:
        bundle = box.bundle("sh", "-c", "sleep 100 & sleep 101 & echo ready; wait")
        bundle.drop_namespace("pid")
        container = box.running(bundle)
        container.wait_output("ready")
        if box.runtime.name == "runc":  # 1.1 needs to be told
            box.runtime.call("kill", "--all", container.id, "KILL").ok()
        else:
            container.kill("KILL").ok()
        container.wait_status("stopped")
        container.delete().ok()


class TestDelete:
    """delete cleans up, also what is half made."""

    def test_a_created_container_needs_no_force(self, box: Box) -> None:
        container = box.created()
        container.delete().ok()

    def test_force_ends_a_running_container(self, box: Box) -> None:
        container = box.running()
        pid = container.pid
        container.delete("--force").ok()
        wait_until(lambda: _is_dead(pid), "init dead")

    def test_force_on_an_unknown_id_succeeds(self, box: Box) -> None:
        call = box.runtime.call("delete", "--force", "ocitest-no-such-container").ok()
        assert call.stderr == ""

    def test_a_zombie_counts_as_stopped(self, box: Box) -> None:
        container = box.running()
        pid = container.pid
        container.kill("KILL").ok()
        wait_until(lambda: _process_state(pid) == "Z", "a zombie: this process has not reaped it")
        assert container.status == "stopped"
        container.delete().ok()

    def test_a_folder_without_a_record_is_removed(self, box: Box) -> None:
        container = box.container()
        folder = box.runtime.root / container.id
        folder.mkdir(parents=True)
        container.delete().failed("does not exist")
        assert not folder.exists()

    def test_a_folder_without_a_record_is_removed_with_force(self, box: Box) -> None:
        container = box.container()
        folder = box.runtime.root / container.id
        folder.mkdir(parents=True)
        container.delete("--force").ok()
        assert not folder.exists()

    def test_the_id_is_free_again(self, box: Box) -> None:
        container = box.created()
        container.delete().ok()
        container.create().ok()
        container.delete().ok()

    def test_a_record_whose_pid_belongs_to_another_process_is_stopped(self, box: Box) -> None:
        """The start time tells: after a reboot, or when pids came round."""
        container = box.created()
        _pretend_that_init_is(container.pid, os.getppid(), box.runtime.root / container.id)
        assert container.status == "stopped"
        container.kill("TERM").failed("container not running")
        container.delete().ok()


def _process_state(pid: int) -> str:
    with open(f"/proc/{pid}/stat") as stat:
        return stat.read().rpartition(")")[2].split()[0]


def _is_dead(pid: int) -> bool:
    return not os.path.exists(f"/proc/{pid}") or _process_state(pid) == "Z"


def _pretend_that_init_is(old: int, new: int, folder: os.PathLike[str]) -> None:
    """Rewrite a record, whoever's it is, so that it names another process; end the old one."""
    changed = 0
    for name in os.listdir(folder):
        path = os.path.join(folder, name)
        if os.path.isfile(path):
            with open(path, "rb") as file:
                data = file.read()
            if str(old).encode() in data:
                changed += 1
                with open(path, "wb") as file:
                    file.write(data.replace(str(old).encode(), str(new).encode()))
    assert changed
    os.kill(old, 9)
