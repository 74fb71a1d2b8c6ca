"""create fails late: what its hooks and its init have started goes with the rest.

Source: docs/runc-compat/state.md#leftovers; ARCHITECTURE.md#the-story.
"""

from __future__ import annotations

from harness.box import Box
from harness.bundle import Bundle
from harness.runtime import wait_until


def shared_pid(box: Box, *args: str) -> Bundle:
    """Make a bundle whose processes do not die with its init."""
    bundle = box.bundle(*args)
    bundle.drop_namespace("pid")
    return bundle


def leaving_something(moment: str) -> dict[str, list[dict[str, object]]]:
    script = "sleep 1000 >/dev/null 2>&1 </dev/null & sleep 0.2"
    return {moment: [{"path": "/bin/sh", "args": ["sh", "-c", script]}]}


def test_what_a_create_container_hook_left_running(box: Box) -> None:
    bundle = shared_pid(box, "/no/such")
    bundle.config["hooks"] = leaving_something("createContainer")
    box.container(bundle).create().failed("no such file or directory")


def test_what_a_start_container_hook_left_running(box: Box) -> None:
    bundle = shared_pid(box, "/probe", "wait")
    hooks = leaving_something("startContainer")
    hooks["startContainer"].append({"path": "/bin/false"})
    bundle.config["hooks"] = hooks
    box.container(bundle).run().failed("startContainer")


def test_created_and_deleted_nothing_of_the_hooks_stays(box: Box) -> None:
    bundle = shared_pid(box, "/probe", "wait")
    bundle.config["hooks"] = leaving_something("createContainer")
    container = box.created(bundle)
    wait_until(lambda: container.status == "created", "it")
    container.delete().ok()
