"""A process of exec has no more rights in the container than its program and its last steps need.

Attack: a process of the container with CAP_SYS_PTRACE traces it before it has become its program,
and acts with its rights. Here it is held by a container that is paused, and its capabilities are
read from outside: a tracer could gain no more. Without a user namespace; in one, CAP_SYS_PTRACE is
no right over a process from outside of it.

runc 1.1.5 enters with every capability that its caller has.

Source: ptrace(2), capabilities(7); docs/runc-compat/init.md#exec.
"""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from harness.box import Box, Container
from harness.bundle import Bundle
from harness.needs import needs
from harness.peers import peer_deviates
from harness.runtime import finish, wait_until

from ocirun.spec.capabilities import CAPABILITIES

pytestmark = needs("root")

PROGRAM = {"CAP_KILL", "CAP_NET_BIND_SERVICE"}
ALWAYS = PROGRAM | {"CAP_SETGID"}
SETS = {name: sorted(PROGRAM) for name in ("bounding", "effective", "permitted")}


def inside(init: int) -> list[int]:
    """The processes in the pid namespace of `init`, itself left out."""
    namespace = Path(f"/proc/{init}/ns/pid").readlink()
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdecimal() and (entry / "ns/pid").readlink() == namespace:
                found.append(int(entry.name))
        except OSError:  # it has ended
            continue
    return [pid for pid in found if pid != init]


def held(bundle: Bundle, box: Box, *flags: str) -> dict[str, set[str]]:
    """The capabilities of a process of exec that is held on its way in, by their names in /proc."""
    bundle.process["capabilities"] = SETS
    container: Container = box.running(bundle)
    init = container.pid
    box.runtime.call("pause", container.id).ok()
    words = ("exec", "--ignore-paused", *flags, container.id, "/probe", "call", "39")
    process, result = box.runtime.spawn(*words)
    wait_until(lambda: inside(init), "a process of exec")
    time.sleep(0.3)  # until it is held
    status = Path(f"/proc/{inside(init)[0]}/status").read_text()
    box.runtime.call("resume", container.id).ok()
    assert finish(process, result).status == 0, result.story()
    rows = (line.split() for line in status.splitlines() if line.startswith("Cap"))
    return {row[0].strip(":"): names(int(row[1], 16)) for row in rows}


def names(mask: int) -> set[str]:
    return {name for name, number in CAPABILITIES.items() if mask >> number & 1}


def check(found: dict[str, set[str]], permitted: set[str]) -> None:
    assert found["CapPrm"] == permitted
    assert found["CapEff"] <= permitted
    assert found["CapBnd"] == PROGRAM
    assert found["CapInh"] == found["CapAmb"] == set()


@peer_deviates("crun", "1.8 has no --ignore-paused")
@peer_deviates("runc", "enters with every capability")
@pytest.mark.parametrize("no_new_privs", [False, True])
def test_it_has_what_its_program_gets_and_groups_are_set_by(box: Box, no_new_privs: bool) -> None:
    bundle = box.bundle("/probe", "wait", noNewPrivileges=no_new_privs)
    if no_new_privs:
        bundle.linux["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": []}
    check(held(bundle, box), ALWAYS)


@peer_deviates("crun", "1.8 has no --ignore-paused")
@peer_deviates("runc", "enters with every capability")
def test_for_another_user_it_has_what_becoming_it_takes(box: Box) -> None:
    found = held(box.bundle("/probe", "wait"), box, "--user", "1000")
    check(found, ALWAYS | {"CAP_SETUID", "CAP_CHOWN"})


@peer_deviates("crun", "1.8 has no --ignore-paused")
@peer_deviates("runc", "enters with every capability")
@pytest.mark.parametrize("what", ["filter", "cgroup namespace"])
def test_what_only_an_administrator_may_do_is_done_with_one_capability_more(
    box: Box, what: str
) -> None:
    """SECURITY.md, "What is not promised"."""
    bundle = box.bundle("/probe", "wait")
    if what == "filter":
        rule = {"names": ["swapoff"], "action": "SCMP_ACT_ERRNO"}
        bundle.linux["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}
    else:
        bundle.set_namespace("cgroup")
    check(held(bundle, box), ALWAYS | {"CAP_SYS_ADMIN"})
