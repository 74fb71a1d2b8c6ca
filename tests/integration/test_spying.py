"""Nobody in the namespaces that init enters can see into it (CVE-2016-9962).

A process of one container looks, as fast as it can, at the descriptors, links, memory and state of
every process of the runtime that appears, while other containers join its namespaces.
"""

from __future__ import annotations

import os
import time

import pytest
from harness.box import Box, Container
from harness.bundle import Bundle
from harness.machine import MARK
from harness.needs import needs

pytestmark = needs("ours")  # the peers have the name of their program too early

MAP = (0, 100000, 65536)
EVERYTHING = {
    name: ["CAP_SYS_PTRACE", "CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_KILL"]
    for name in ("bounding", "effective", "permitted")
}
NOTHING: dict[str, list[str]] = {name: [] for name in ("bounding", "effective", "permitted")}


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
    assert int(said.rpartition("looked ")[2]) > 10, "it has seen none"
    assert "reached" not in said


def next_door(box: Box, spy: Container, *kinds: str) -> Bundle:
    bundle = box.bundle("/probe", "wait")
    for kind in kinds:
        bundle.set_namespace(kind, f"/proc/{spy.pid}/ns/{'net' if kind == 'network' else kind}")
    return bundle


def test_a_joined_pid_namespace(each_way: Box) -> None:
    """Both are root of the host without capabilities: nothing else keeps them apart."""
    bundle = each_way.bundle()
    bundle.process["capabilities"] = NOTHING
    spy = spying(each_way, bundle)
    others = [next_door(each_way, spy, "pid", "network", "ipc") for _ in range(3)]
    for other in others:
        other.process["capabilities"] = NOTHING
    create_and_check(each_way, spy, *others)


def test_joined_user_and_pid_namespaces(each_way: Box) -> None:
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


@pytest.mark.parametrize("userns", [False, True], ids=["", "userns"])
def test_the_hosts_pid_namespace(box: Box, *, userns: bool) -> None:
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
