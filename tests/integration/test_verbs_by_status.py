"""What each verb says to a container of each status, and which of two faults is told.

Source: docs/runc-compat/cli.md#verbs-by-status, docs/runc-compat/cli.md#order-of-checks.
"""

from __future__ import annotations

import pytest
from harness.box import Box, Container
from harness.peers import peer_deviates

NOT_RUNNING = "container not running"
NOT_PAUSED = "container not paused"
PAUSED_EXEC = "cannot exec in a paused container (use --ignore-paused to override)"
STOPPED_EXEC = "cannot exec in a stopped container"
TAKEN = "container with given ID already exists"
UNKNOWN = "does not exist"

# Status → verb → what is said; what is not listed succeeds. Verbs that change the status are last.
REFUSALS = {
    "created": {
        "resume": NOT_PAUSED,
        "create": TAKEN,
        "checkpoint": "Container cannot be checkpointed in created state",
    },
    "running": {
        "start": "cannot start an already running container",
        "resume": NOT_PAUSED,
        "create": TAKEN,
        "delete": "that is not stopped: running",
    },
    "paused": {
        "start": "cannot start a container in the paused state",
        "exec": PAUSED_EXEC,
        "pause": NOT_RUNNING,
        "create": TAKEN,
        "delete": "that is not stopped: paused",
    },
    "stopped": {
        "start": "cannot start a container that has stopped",
        "exec": STOPPED_EXEC,
        "kill": NOT_RUNNING,
        "pause": NOT_RUNNING,
        "resume": NOT_PAUSED,
        "update": NOT_RUNNING,
        "events": "is not running",
        "create": TAKEN,
        "checkpoint": "Container cannot be checkpointed in stopped state",
    },
}
CHANGING = {"created": ("start", "pause"), "running": ("pause",), "paused": ("resume",)}
CHANGING |= {"stopped": ("delete",)}


def with_status(box: Box, status: str) -> Container:
    container = box.created(None, "/probe", "wait")
    if status != "created":
        container.start().ok()
    if status == "paused":
        box.runtime.call("pause", container.id).ok()
    if status == "stopped":
        container.stop()
    assert container.status == status
    return container


@peer_deviates("crun", "has words and statuses of its own")
@pytest.mark.parametrize("status", REFUSALS)
def test_each_verb_has_its_answer(box: Box, status: str) -> None:
    container = with_status(box, status)
    calls = {
        "state": ("state", container.id),
        "exec": ("exec", container.id, "/probe", "exit", "0"),
        "kill": ("kill", container.id, "0"),
        "update": ("update", "--pids-limit", "50", container.id),
        "events": ("events", "--stats", container.id),
        "ps": ("ps", "--format", "json", container.id),
        "create": ("create", "--bundle", str(container.bundle.path), container.id),
        "checkpoint": ("checkpoint", container.id),
        "start": ("start", container.id),
        "resume": ("resume", container.id),
        "pause": ("pause", container.id),
        "delete": ("delete", container.id),
    }
    if "checkpoint" not in REFUSALS[status]:
        del calls["checkpoint"]  # needs CRIU: test_checkpoint.py
    if status == "created":
        del calls["delete"]
    for verb in sorted(calls, key=lambda name: name in CHANGING[status]):
        call = box.runtime.call(*calls[verb])
        words = REFUSALS[status].get(verb)
        if words is None:
            call.ok()
        else:
            call.failed(words, status=255 if verb == "exec" else 1)
        if verb in CHANGING[status]:
            break
        assert container.status == status, verb


@peer_deviates("crun", "has an order of its own")
class TestTwoFaults:
    """runc looks for the container before it reads what is asked of it."""

    @pytest.mark.parametrize("name", ["ocitest-none", "not/an/id", ""])
    def test_a_container_that_is_none_comes_first(self, box: Box, name: str) -> None:
        words = {"": "container id cannot be empty", "not/an/id": "invalid container ID format"}
        bad = box.folder / "bad.json"
        bad.write_text('{"cwd": "relative", "args": []}')
        missing = str(box.folder / "missing")
        for *call, status in (
            ("kill", name, "NOSIGNAL", 1),
            ("kill", "--all", name, "NOSIGNAL", 1),
            ("exec", name, 255),
            ("exec", "--user", "x", name, "true", 255),
            ("exec", "--process", missing, name, 255),
            ("exec", "--process", str(bad), name, 255),
            ("update", "--memory", "x", name, 1),
            ("update", "--cpu-share", "x", name, 1),
            ("update", "--resources", missing, name, 1),
            ("events", "--stats", "--interval", "0", name, 1),
            ("events", "--interval", "-1s", name, 1),
            ("ps", "--format", "x", name, 1),
            ("checkpoint", "--empty-ns", "x", name, 1),
            ("checkpoint", "--page-server", "x", name, 1),
        ):
            box.runtime.call(*call).failed(words.get(name, UNKNOWN), status=status)

    def test_the_status_comes_before_the_process(self, box: Box) -> None:
        container = with_status(box, "stopped")
        bad = box.folder / "bad.json"
        bad.write_text("{")
        container.exec("true", flags=("--cwd", "x")).failed(STOPPED_EXEC, status=255)
        container.exec(flags=("--process", bad)).failed(STOPPED_EXEC, status=255)
        container.exec().failed(STOPPED_EXEC, status=255)
        container = with_status(box, "paused")
        container.exec(flags=("--process", bad)).failed(PAUSED_EXEC, status=255)
        refused = container.exec("true", flags=("--ignore-paused", "--cwd", "x"))
        refused.failed("Cwd must be an absolute path", status=255)

    def test_the_bundle_comes_first_and_then_the_id(self, box: Box) -> None:
        container = box.created()
        terminal = box.bundle(terminal=True)
        broken = box.bundle(cwd="relative")
        for bundle in (terminal, broken):
            bundle.save()
        relative = "Cwd must be an absolute path"
        for bundle, name, flags, words in (
            (broken, "not/an/id", (), relative),
            (broken, container.id, (), relative),
            (terminal, "not/an/id", (), "invalid container ID format"),
            (terminal, container.id, (), TAKEN),
            (container.bundle, container.id, ("--console-socket", "/none"), TAKEN),
            (container.bundle, container.id, ("--preserve-fds", "90"), TAKEN),
        ):
            box.runtime.call("create", "--bundle", bundle.path, *flags, name).failed(words)
        assert container.status == "created"


@peer_deviates("crun", "accepts it")
def test_an_additional_group_that_is_no_number_is_an_error_of_the_command_line(box: Box) -> None:
    container = box.created()
    refused = container.exec("true", flags=("--additional-gids", "x"))
    refused.failed('invalid value "x" for flag -additional-gids', status=1)


@peer_deviates("crun", "has no such words")
def test_a_log_format_that_is_none_comes_first_but_for_the_version(box: Box) -> None:
    root = ("--root", str(box.runtime.root))
    for words in ((), ("no-such-verb",), ("state",), ("kill", "none", "NOSIGNAL"), ("help",)):
        call = box.runtime.prepare()
        call.argv = [box.runtime.path, *root, "--log-format", "none", *words]
        box.runtime.run_prepared(call).failed("invalid log-format: none")
    call = box.runtime.prepare()
    call.argv = [box.runtime.path, "--log-format", "none", "--version"]
    box.runtime.run_prepared(call).ok()
