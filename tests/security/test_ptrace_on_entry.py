"""CVE-2016-9962: a process of a container can trace and read nothing of a runtime process that
enters its namespaces.

Attacks: `probe spy` reads links, descriptors and memory of each runtime process that it sees while
other containers join its namespaces; `probe stalk` does the same to processes of `exec`.

On runc 1.1.5 the attacks by `probe stalk` find nothing either; `probe spy` is not run there: it
recognizes ocirun by its command line.

Source: ptrace(2), "Ptrace access mode checking"; prctl(2), PR_SET_DUMPABLE.
"""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path
from typing import Any

import pytest
from harness.box import Box, Container
from harness.bundle import Bundle
from harness.machine import MARK
from harness.needs import needs
from harness.runtime import finish, wait_until

pytestmark = needs("root")

MAP = (0, 100000, 65536)
EVERYTHING = {
    name: ["CAP_SYS_PTRACE", "CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_KILL"]
    for name in ("bounding", "effective", "permitted")
}
NOTHING: dict[str, list[str]] = {name: [] for name in ("bounding", "effective", "permitted")}
USUAL = ["CAP_CHOWN", "CAP_KILL", "CAP_SETUID", "CAP_SETGID", "CAP_DAC_OVERRIDE"]
USUAL_SETS = dict.fromkeys(("bounding", "effective", "permitted"), USUAL)


def spying(box: Box, bundle: Bundle, text: str = "") -> Container:
    bundle.process["args"] = ["/probe", "spy", text]
    container = box.created(bundle)
    container.start().ok()
    container.wait_output("ready")
    return container


def create_and_check(box: Box, spy: Container, *bundles: Bundle) -> None:
    others = [box.created(bundle) for bundle in bundles]
    time.sleep(0.2)  # they wait at their gates
    pids = [other.pid for other in others]
    spy.kill("TERM").ok()
    said = spy.wait_output("looked")
    for other in others:
        other.delete("--force")
    for pid in pids:  # process 1 of their namespace does not end before they are reaped
        os.waitpid(pid, 0)
    assert int(said.rpartition("looked ")[2]) > 3, "it has seen none"
    assert "reached" not in said


def next_door(box: Box, spy: Container, *kinds: str) -> Bundle:
    bundle = box.bundle("/probe", "wait")
    for kind in kinds:
        bundle.set_namespace(kind, f"/proc/{spy.pid}/ns/{'net' if kind == 'network' else kind}")
    return bundle


@needs("ours")  # the spy recognizes our command line
def test_init_is_not_seen_in_a_joined_pid_namespace(each_way: Box) -> None:
    """Both are root of the host without capabilities: nothing else keeps them apart."""
    bundle = each_way.bundle()
    bundle.process["capabilities"] = NOTHING
    spy = spying(each_way, bundle)
    others = [next_door(each_way, spy, "pid", "network", "ipc") for _ in range(3)]
    for other in others:
        other.process["capabilities"] = NOTHING
    create_and_check(each_way, spy, *others)


@needs("ours")
def test_init_is_not_seen_in_joined_user_and_pid_namespaces(each_way: Box) -> None:
    """The spy has every right that its user namespace has to give."""
    bundle = each_way.bundle()
    bundle.use_userns(MAP)
    bundle.process["capabilities"] = EVERYTHING
    spy = spying(each_way, bundle)
    others = []
    for _ in range(3):
        other = next_door(each_way, spy, "user", "pid", "network")
        other.process["capabilities"] = EVERYTHING
        others.append(other)
    create_and_check(each_way, spy, *others)


@needs("ours")
@pytest.mark.parametrize("userns", [False, True], ids=["", "userns"])
def test_init_is_not_seen_in_the_pid_namespace_of_the_host(box: Box, *, userns: bool) -> None:
    bundle = box.bundle()
    bundle.drop_namespace("pid")
    bundle.process["capabilities"] = NOTHING
    others = []
    for _ in range(2):
        other = box.bundle("/probe", "wait")
        other.drop_namespace("pid")
        other.process["capabilities"] = NOTHING
        others.append(other)
    for one in (bundle, *others) if userns else ():
        one.use_userns(MAP)
        one.mounts[0] = {"destination": "/proc", "source": "/proc", "options": ["rbind"]}
    create_and_check(box, spying(box, bundle, MARK), *others)


@needs("userns", "ours")
def test_exec_is_not_seen_while_its_listener_is_sent(box: Box) -> None:
    """The agent's queue is full after create, so that exec stops in the middle."""
    agent = socket.socket(socket.AF_UNIX)
    path = box.folder / "agent"
    agent.bind(os.fspath(path))
    agent.listen(0)
    bundle = box.bundle("/probe", "wait")
    bundle.use_userns((0, 100000, 65536))
    bundle.linux["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "listenerPath": os.fspath(path),
        "syscalls": [{"names": ["swapoff"], "action": "SCMP_ACT_NOTIFY"}],
    }
    container = box.running(bundle)
    spare = {container.pid}
    process, result = box.runtime.spawn("exec", container.id, "/bin/true")

    def joiners() -> set[int]:
        text = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
        return {int(word) for word in text.split()} - spare

    wait_until(joiners, "a process that joins")
    time.sleep(0.3)
    (joiner,) = joiners()
    mapped = os.readlink(f"/proc/{joiner}/ns/user") == os.readlink(f"/proc/{container.pid}/ns/user")
    owner = os.stat(f"/proc/{joiner}/environ").st_uid
    agent.accept()[0].close()
    status = finish(process, result).status
    agent.close()
    assert status == 0
    assert mapped
    assert owner == 0  # of the machine: who maps 100000 to itself may not trace it


class TestExecIsNotSeen:
    """By `probe stalk`, which runs in the container that is entered."""

    def stalk(self, container: Container) -> None:
        for _ in range(15):
            assert container.exec("/probe", "exit", "3").status == 3
        lines = container.output.split("ready\n", 1)[1].splitlines()
        assert [line for line in lines if not line.startswith("met ")] == []
        assert len(lines) > 5, "the stalker has seen too few processes to tell anything"
        container.kill("KILL").ok()

    def stalker(self, box: Box, **process: Any) -> Container:  # noqa: ANN401
        bundle = box.bundle("/probe", "stalk", capabilities=USUAL_SETS, **process)
        return box.container(bundle)

    def begun(self, container: Container) -> Container:
        container.create().ok()
        container.start().ok()
        container.wait_output("ready")
        return container

    def test_root_inside_finds_nothing_on_entry(self, box: Box) -> None:
        self.stalk(self.begun(self.stalker(box)))

    def test_root_inside_finds_nothing_of_a_user_on_entry(self, box: Box) -> None:
        user = {"uid": 1000, "gid": 1000}
        self.stalk(self.begun(self.stalker(box, user=user)))

    @needs("userns")
    def test_in_a_user_namespace(self, box: Box) -> None:
        container = self.stalker(box)
        container.bundle.use_userns((0, 100000, 65536))
        self.stalk(self.begun(container))

    @needs("userns")
    def test_in_a_user_namespace_with_a_filter(self, box: Box) -> None:
        container = self.stalker(box)
        container.bundle.use_userns((0, 100000, 65536))
        container.bundle.linux["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW"}
        self.stalk(self.begun(container))
