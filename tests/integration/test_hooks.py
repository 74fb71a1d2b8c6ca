"""The six moments at which programs of the bundle run.

Source: runtime-spec config.md#posix-platform-hooks, runtime.md#lifecycle;
docs/runc-compat/init.md#hooks.
"""

from __future__ import annotations

import json
import os
import signal

import pytest
from harness.box import Box
from harness.bundle import PATH
from harness.hooks import Hooks, lived
from harness.needs import needs
from harness.peers import peer_deviates
from harness.runtime import wait_until

IN_RUNTIME = ("prestart", "createRuntime", "poststart", "poststop")
AT_CREATE = ("prestart", "createRuntime", "createContainer")
EARLY_POSTSTART = peer_deviates("runc", "1.1 runs poststart at the end of create")
ALL = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")


@EARLY_POSTSTART
def test_each_runs_at_its_moment(box: Box) -> None:
    hooks = Hooks(box)
    for moment in ALL:
        hooks.record(moment)
    container = box.created(hooks.bundle)
    assert [moment for moment in ALL if hooks.ran(moment)] == list(AT_CREATE)
    container.start().ok()
    container.wait_status("stopped")
    wait_until(lambda: hooks.ran("poststart"), "poststart")
    assert not hooks.ran("poststop")
    container.delete().ok()
    assert all(hooks.ran(moment) for moment in ALL)


@EARLY_POSTSTART
def test_they_run_in_order_one_after_the_other(box: Box) -> None:
    hooks = Hooks(box, "sh", "-c", "echo process >> /tmp/order; sleep 0.3")
    order = hooks.bundle.rootfs / "tmp/order"
    for moment in ALL:
        for number in (1, 2):
            place = "/tmp/order" if moment == "startContainer" else order
            hooks.shell(moment, f"sleep 0.02; echo {moment} {number} >> {place}", env=[PATH])
    lived(box, hooks)
    expected = [f"{moment} {number}" for moment in ALL for number in (1, 2)]
    found = order.read_text().splitlines()
    assert found.index("startContainer 2") < found.index("process") < found.index("poststop 1")
    found.remove("process")
    assert found == expected


class TestInput:
    """The state a hook reads on its standard input."""

    @pytest.mark.parametrize(
        ("moment", "status"),
        [
            pytest.param("prestart", "created", marks=peer_deviates("runc", "says creating")),
            ("createRuntime", "creating"),
            ("createContainer", "creating"),
            ("startContainer", "created"),
            pytest.param("poststart", "running", marks=EARLY_POSTSTART),
            ("poststop", "stopped"),
        ],
    )
    def test_it_tells_id_status_pid_and_bundle(self, box: Box, moment: str, status: str) -> None:
        hooks = Hooks(box, "sleep", "0.3")
        hooks.record(moment)
        container = box.created(hooks.bundle)
        host_pid = container.pid
        container.start().ok()
        container.wait_status("stopped")
        container.delete().ok()
        state = hooks.seen(moment)["state"]
        assert state["id"] == container.id
        assert state["bundle"] == str(hooks.bundle.path)
        assert state["status"] == status
        assert state["ociVersion"].startswith("1.")
        if moment in ("createContainer", "startContainer"):
            assert state["pid"] == 1
        else:
            assert state.get("pid", 0) == (0 if moment == "poststop" else host_pid)

    def test_it_is_compact_with_keys_in_order_and_no_newline(self, box: Box) -> None:
        hooks = Hooks(box)
        hooks.bundle.config["annotations"] = {"org.example/k": "a/b ä"}
        hooks.record("createRuntime")
        lived(box, hooks)
        text, state = hooks.seen("createRuntime")["stdin"], hooks.seen("createRuntime")["state"]
        assert list(state) == ["ociVersion", "id", "status", "pid", "bundle", "annotations"]
        assert state["annotations"] == {"org.example/k": "a/b ä"}
        assert text == json.dumps(state, separators=(",", ":"), ensure_ascii=False)

    @pytest.mark.parametrize("moment", ALL)
    def test_a_hook_that_does_not_read_it_is_fine(self, box: Box, moment: str) -> None:
        hooks = Hooks(box)
        hooks.bundle.config["annotations"] = {"big": "x" * 200_000}
        hooks.shell(moment, "exec 0<&-; exit 0")
        lived(box, hooks)


class TestSurroundings:
    """Environment, working directory, arguments and namespaces of a hook."""

    @pytest.mark.parametrize("moment", ALL)
    def test_its_environment_is_exactly_what_it_is_given(self, box: Box, moment: str) -> None:
        hooks = Hooks(box)
        hooks.record(moment, env=["A=1", "B=x y"])
        lived(box, hooks)
        assert hooks.seen(moment)["env"] == ["A=1", "B=x y"]

    @pytest.mark.parametrize("moment", IN_RUNTIME)
    def test_without_one_the_runtimes_hooks_inherit(self, box: Box, moment: str) -> None:
        hooks = Hooks(box)
        hooks.record(moment)
        lived(box, hooks, env={"PATH": os.environ["PATH"], "FROM_THE_CALLER": "yes"})
        assert "FROM_THE_CALLER=yes" in hooks.seen(moment)["env"]

    @peer_deviates("runc", "1.1 lets the runtime's environment through", sometimes=True)
    @peer_deviates("crun", "inherits", sometimes=True)
    def test_without_one_create_container_has_none(self, box: Box) -> None:
        hooks = Hooks(box)
        hooks.record("createContainer")
        lived(box, hooks, env={"PATH": os.environ["PATH"], "FROM_THE_CALLER": "yes"})
        assert hooks.seen("createContainer")["env"] == []

    @peer_deviates("crun", "inherits the runtime's", sometimes=True)
    def test_without_one_start_container_has_the_processes(self, box: Box) -> None:
        hooks = Hooks(box, env=[PATH, "OF_THE_PROCESS=1"])
        hooks.record("startContainer")
        lived(box, hooks)
        assert set(hooks.seen("startContainer")["env"]) >= {PATH, "OF_THE_PROCESS=1"}

    @pytest.mark.parametrize("moment", ALL)
    def test_args_are_its_argv(self, box: Box, moment: str) -> None:
        hooks = Hooks(box)
        hooks.record(moment)
        lived(box, hooks)
        assert hooks.seen(moment)["argv"][:2] == ["hook-name", "record"]

    def test_without_args_the_path_is_the_only_one(self, box: Box) -> None:
        hooks = Hooks(box)
        script = hooks.bundle.path / "hook"
        script.write_text(f'#!/bin/sh\necho "$0 $#" > {hooks.bundle.path}/out\n')
        script.chmod(0o755)
        hooks.bundle.config["hooks"] = {"createRuntime": [{"path": str(script)}]}
        lived(box, hooks)
        assert (hooks.bundle.path / "out").read_text() == f"{script} 0\n"

    @pytest.mark.parametrize("moment", IN_RUNTIME)
    def test_those_of_run_start_in_the_bundle(self, box: Box, moment: str) -> None:
        hooks = Hooks(box)
        hooks.record(moment)
        box.container(hooks.bundle).run(cwd=box.folder).ok()
        assert hooks.seen(moment)["cwd"] == str(hooks.bundle.path)

    def test_poststop_after_a_failed_create_starts_in_the_bundle(self, box: Box) -> None:
        hooks = Hooks(box)
        hooks.shell("createRuntime", "exit 1")
        hooks.record("poststop")
        box.container(hooks.bundle).create(cwd=box.folder).failed()
        assert hooks.seen("poststop")["cwd"] == str(hooks.bundle.path)

    @pytest.mark.parametrize("moment", ["prestart", "createRuntime"])
    def test_those_of_create_start_in_the_bundle(self, box: Box, moment: str) -> None:
        hooks = Hooks(box)
        hooks.record(moment)
        lived(box, hooks)
        assert hooks.seen(moment)["cwd"] == str(hooks.bundle.path)

    def test_create_container_starts_in_the_rootfs(self, box: Box) -> None:
        hooks = Hooks(box)
        hooks.record("createContainer")
        lived(box, hooks)
        assert hooks.seen("createContainer")["cwd"] == str(hooks.bundle.rootfs)

    def test_start_container_starts_in_the_processes_folder(self, box: Box) -> None:
        hooks = Hooks(box, cwd="/home/user")
        hooks.record("startContainer")
        lived(box, hooks)
        assert hooks.seen("startContainer")["cwd"] == "/home/user"

    @pytest.mark.parametrize(
        "moment", [pytest.param("poststart", marks=EARLY_POSTSTART), "poststop"]
    )
    def test_the_late_ones_start_where_the_caller_is(self, box: Box, moment: str) -> None:
        hooks = Hooks(box)
        hooks.record(moment)
        lived(box, hooks, cwd=box.folder)
        assert hooks.seen(moment)["cwd"] == str(box.folder)

    @pytest.mark.parametrize("moment", ALL)
    def test_each_hook_runs_in_its_namespaces(self, box: Box, moment: str) -> None:
        hooks = Hooks(box)
        hooks.bundle.config["hostname"] = "inside"
        hooks.record(moment)
        lived(box, hooks)
        host = os.stat("/proc/self/ns/uts").st_ino
        inside = moment in ("createContainer", "startContainer")
        assert (hooks.seen(moment)["namespaces"]["uts"] != host) is inside

    def test_create_container_still_sees_the_hosts_root_and_the_new_mounts(self, box: Box) -> None:
        hooks = Hooks(box)
        hooks.record("createContainer")
        lived(box, hooks)
        points = [line.split()[4] for line in hooks.seen("createContainer")["mountinfo"]]
        assert str(hooks.bundle.rootfs / "proc") in points
        assert "/proc" in points

    def test_create_runtime_sees_the_namespaces_of_the_pid(self, box: Box) -> None:
        hooks = Hooks(box)
        place = hooks.bundle.path / "ns"
        hooks.shell(
            "createRuntime",
            'pid=$(sed "s/.*\\"pid\\":\\([0-9]*\\).*/\\1/"); '
            f"readlink /proc/$pid/ns/net /proc/self/ns/net > {place}",
            env=[PATH],
        )
        lived(box, hooks)
        of_container, of_host = place.read_text().split()
        assert of_container != of_host

    def test_a_mount_made_by_create_container_is_seen_inside(self, box: Box) -> None:
        hooks = Hooks(box, "cat", "/tmp/mounted/file")
        bundle = hooks.bundle
        (bundle.rootfs / "tmp/mounted").mkdir()
        (bundle.path / "source").mkdir()
        (bundle.path / "source/file").write_text("by the hook\n")
        script = f"mount --bind {bundle.path}/source {bundle.rootfs}/tmp/mounted"
        hooks.shell("createContainer", script, env=[PATH])
        assert box.output(bundle) == "by the hook\n"


class TestFailure:
    """What a hook that fails does to the verb and to the container."""

    @pytest.mark.parametrize("moment", AT_CREATE)
    def test_at_create_nothing_is_left(self, box: Box, moment: str) -> None:
        hooks = Hooks(box)
        hooks.shell(moment, "echo the reason >&2; exit 3")
        container = box.container(hooks.bundle)
        container.create().failed()
        box.runtime.call("state", container.id).failed("does not exist")

    @pytest.mark.parametrize("moment", AT_CREATE)
    def test_the_message_has_the_hooks_words(self, box: Box, moment: str) -> None:
        hooks = Hooks(box)
        hooks.shell(moment, "echo the reason >&2; exit 3")
        box.container(hooks.bundle).create().failed("the reason", "exit status 3")

    @pytest.mark.parametrize("moment", AT_CREATE)
    def test_the_next_one_does_not_run(self, box: Box, moment: str) -> None:
        hooks = Hooks(box)
        hooks.shell(moment, "exit 1")
        hooks.record(moment)
        box.container(hooks.bundle).create().failed()
        assert not hooks.ran(moment)

    @pytest.mark.parametrize("moment", AT_CREATE)
    def test_poststop_runs_after_a_failed_create(self, box: Box, moment: str) -> None:
        hooks = Hooks(box)
        hooks.shell(moment, "exit 1")
        hooks.record("poststop")
        box.container(hooks.bundle).create().failed()
        assert hooks.ran("poststop")

    def test_at_start_container_the_program_does_not_run(self, box: Box) -> None:
        hooks = Hooks(box, "echo", "ran")
        hooks.shell("startContainer", "exit 1")
        run = box.container(hooks.bundle).run()
        assert run.status != 0
        assert "ran" not in run.stdout.split()

    @peer_deviates("runc", "1.1 starts with success, and leaves it stopped")
    @peer_deviates("crun", "1.8 starts with success, and leaves it stopped")
    def test_at_start_container_the_container_is_deleted(self, box: Box) -> None:
        hooks = Hooks(box, "/probe", "wait")
        hooks.shell("startContainer", "exit 1")
        hooks.record("poststart")
        hooks.record("poststop")
        container = box.container(hooks.bundle)
        container.create().ok()
        container.start().failed("unable to start container process", "exit status 1")
        box.runtime.call("state", container.id).failed("does not exist")
        assert not hooks.ran("poststart")
        assert hooks.ran("poststop")
        container.delete("--force").ok()

    @peer_deviates("runc", "1.1 runs them before the program and only warns", sometimes=True)
    def test_at_poststart_the_container_is_ended(self, box: Box) -> None:
        hooks = Hooks(box, "/probe", "wait")
        hooks.shell("poststart", "exit 1")
        hooks.record("poststop")
        container = box.created(hooks.bundle)
        container.start().failed("exit status 1")
        if box.runtime.name == "runc":  # HEAD leaves it stopped
            assert container.status == "stopped"
            return
        box.runtime.call("state", container.id).failed("does not exist")
        assert hooks.ran("poststop")

    @needs("ours")
    @pytest.mark.parametrize("moment", ALL)
    def test_the_message_names_hook_and_path(self, box: Box, moment: str) -> None:
        """Its place in the list, then the path: what callers of runc look for."""
        hooks = Hooks(box, "sleep", "0.3")
        hooks.shell(moment, "exit 0")
        hooks.shell(moment, "exit 3")
        result = box.container(hooks.bundle).run()
        assert f"error running {moment} hook #1: /bin/sh: exit status 3" in result.said

    @peer_deviates("runc", "delete fails although all is done", sometimes=True)
    def test_at_poststop_delete_goes_on(self, box: Box) -> None:
        hooks = Hooks(box)
        hooks.shell("poststop", "exit 1")
        hooks.record("poststop")
        lived(box, hooks)
        assert hooks.ran("poststop")

    @pytest.mark.parametrize("moment", ["createRuntime", "createContainer"])
    def test_a_missing_program_is_a_failure(self, box: Box, moment: str) -> None:
        hooks = Hooks(box)
        hooks.bundle.config["hooks"] = {moment: [{"path": "/no/such/hook"}]}
        box.container(hooks.bundle).create().failed("no such file or directory")

    @pytest.mark.parametrize("moment", ["createRuntime", "createContainer"])
    def test_a_signal_is_a_failure(self, box: Box, moment: str) -> None:
        hooks = Hooks(box)
        hooks.shell(moment, "kill -9 $$")
        box.container(hooks.bundle).create().failed("killed")


class TestTimeout:
    """timeout, in seconds."""

    @pytest.mark.parametrize("moment", ["createRuntime", "createContainer"])
    def test_a_slow_hook_is_killed_and_fails(self, box: Box, moment: str) -> None:
        hooks = Hooks(box)
        hooks.shell(moment, "exec sleep 60", timeout=1)
        container = box.container(hooks.bundle)
        container.create(timeout=10).failed("hook ran past specified timeout of 1.0s")

    def test_a_fast_one_is_left_alone(self, box: Box) -> None:
        hooks = Hooks(box)
        hooks.record("createRuntime", timeout=5)
        lived(box, hooks)
        assert hooks.ran("createRuntime")


def test_a_caller_that_ignores_its_children_does_not_disturb_them(box: Box) -> None:
    """With SIGCHLD ignored, which execve keeps, nobody could wait for a hook."""
    container = box.container(box.bundle("true"))
    moments = ("createRuntime", "createContainer", "startContainer", "poststart", "poststop")
    container.bundle.config["hooks"] = {moment: [{"path": "/bin/true"}] for moment in moments}
    keys = {"preexec_fn": lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN)}
    container.create(**keys).ok()
    container.start(**keys).ok()
    container.wait_status("stopped")
    container.delete(**keys).ok()
