"""SCMP_ACT_NOTIFY on the real kernel: an agent decides about system calls.

Source: runtime-spec config-linux.md#seccomp, #the-container-process-state;
docs/runc-compat/seccomp.md#agents.
"""

from __future__ import annotations

import json
import os
import platform
from typing import Any

import pytest
from harness.agent import Agent
from harness.box import Box
from harness.bundle import Bundle
from harness.filtered import NNP, NUMBERS, filtered, profile
from harness.peers import peer_deviates

pytestmark = pytest.mark.skipif(
    platform.machine() != "x86_64", reason="system calls are made by their x86_64 numbers"
)


class TestNotify:
    """The agent of the test listens in the folder of the test."""

    def bundle(self, box: Box, *names: str, nnp: bool, **keys: Any) -> Bundle:  # noqa: ANN401
        rule = {"names": list(names), "action": "SCMP_ACT_NOTIFY"}
        path = os.fspath(box.folder / "agent.sock")
        calls = ("mkdir,0", "getpid")
        bundle = filtered(box, profile(rule, listenerPath=path, **keys), *calls, nnp=nnp)
        bundle.config["annotations"] = {"a": "b"}
        return bundle

    @NNP
    def test_the_agent_decides(self, box: Box, nnp: bool) -> None:
        bundle = self.bundle(box, "mkdir", nnp=nnp, listenerMetadata="for you")
        with Agent(box.folder / "agent.sock", lambda _: 88) as agent:
            container = box.created(bundle)
            pid = container.pid
            assert json.loads(container.finished()) == [88, 0]
        (message,) = agent.messages
        assert len(agent.descriptors) == 1
        assert message["fds"] == ["seccompFd"]
        assert message["metadata"] == "for you"
        assert message["pid"] == message["state"]["pid"] == pid
        assert message["state"]["id"] == container.id
        assert message["state"]["status"] == "creating"
        assert message["state"]["annotations"]["a"] == "b"
        assert set(agent.calls) == {NUMBERS["mkdir"]}

    @NNP
    def test_calls_that_init_makes_itself_wait_for_the_agent_too(self, box: Box, nnp: bool) -> None:
        names = ("close", "read", "execve", "prctl", "sendmsg", "sendto", "connect", "mkdir")
        bundle = self.bundle(box, *names, nnp=nnp)
        with Agent(box.folder / "agent.sock", lambda call: 88 if call == 83 else 0) as agent:
            assert json.loads(box.output(bundle)) == [88, 0]
        assert NUMBERS["execve"] in agent.calls

    @NNP
    def test_in_a_user_namespace_and_as_a_user(self, box: Box, nnp: bool) -> None:
        bundle = self.bundle(box, "mkdir", nnp=nnp)
        bundle.use_userns((0, 100000, 65536))
        bundle.process["user"] = {"uid": 1000, "gid": 1000}
        with Agent(box.folder / "agent.sock", lambda _: 88):
            assert json.loads(box.output(bundle)) == [88, 0]

    @NNP
    def test_whoever_joins_has_a_descriptor_of_its_own(self, box: Box, nnp: bool) -> None:
        bundle = self.bundle(box, "mkdir", nnp=nnp)
        bundle.process["args"] = ["/probe", "wait"]
        with Agent(box.folder / "agent.sock", lambda _: 88) as agent:
            container = box.running(bundle)
            run = container.runtime.call("exec", container.id, "/probe", "call", "83,0").ok()
            assert json.loads(run.stdout) == [88]
        assert [message["state"]["status"] for message in agent.messages] == ["creating", "running"]
        assert agent.messages[1]["pid"] != agent.messages[0]["pid"]

    @NNP
    def test_without_an_agent_nothing_is_left(self, box: Box, nnp: bool) -> None:
        container = box.container(self.bundle(box, "mkdir", nnp=nnp))
        assert container.create().status != 0
        assert container.runtime.call("state", container.id).status != 0

    @pytest.mark.parametrize(
        "change",
        [
            {"defaultAction": "SCMP_ACT_NOTIFY"},
            {"syscalls": [{"names": ["write"], "action": "SCMP_ACT_NOTIFY"}]},
            {"listenerPath": ""},
        ],
        ids=["as-default", "for-write", "without-listener"],
    )
    @peer_deviates("crun", "does without an agent", sometimes=True)
    def test_what_no_agent_could_answer_is_refused(self, box: Box, change: dict[str, Any]) -> None:
        bundle = self.bundle(box, "mkdir", nnp=True)
        bundle.linux["seccomp"] |= change
        if "listenerPath" in change:
            del bundle.linux["seccomp"]["listenerPath"]
        container = box.container(bundle)
        assert container.create().status != 0
        assert container.runtime.call("state", container.id).status != 0
