"""crun's annotations on groups and seccomp, which its users ask for.

Source: crun crun.1.md, "run.oci.keep_original_groups" and its neighbours; docs/seccomp.md.
"""

from __future__ import annotations

import os
import socket

import pytest
from harness.box import Box
from harness.needs import needs
from harness.peers import peer_deviates

pytestmark = needs("root")

NOT_RUNC = "has no such annotation"
GROUPS = [1234, 2345]


def keep_groups_of_the_caller() -> None:
    os.setgroups(GROUPS)


@peer_deviates("runc", NOT_RUNC)
@pytest.mark.parametrize("userns", [False, pytest.param(True, marks=needs("userns"))])
def test_the_callers_groups_are_kept(box: Box, *, userns: bool) -> None:
    bundle = box.bundle(user={"uid": 1000, "gid": 1000})
    bundle.config["annotations"] = {"run.oci.keep_original_groups": "1"}
    if userns:
        bundle.use_userns((0, 100000, 65536))
    report = box.container(bundle).run(preexec_fn=keep_groups_of_the_caller).ok().json()
    # What the user namespace does not map is seen as nobody's group.
    assert report["groups"] == ([65534, 65534] if userns else GROUPS)


def test_the_callers_groups_are_dropped_otherwise(box: Box) -> None:
    bundle = box.bundle(user={"uid": 1000, "gid": 1000})
    bundle.config["annotations"] = {"run.oci.keep_original_groups": "0"}
    report = box.container(bundle).run(preexec_fn=keep_groups_of_the_caller).ok().json()
    assert report["groups"] == []


@peer_deviates("runc", NOT_RUNC)
def test_an_unknown_system_call_is_an_error(box: Box) -> None:
    bundle = box.bundle("true")
    rule = {"names": ["mkdir", "no_such_call"], "action": "SCMP_ACT_ERRNO"}
    bundle.linux["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}
    box.container(bundle).run().ok()
    bundle.config["annotations"] = {"run.oci.seccomp_fail_unknown_syscall": "1"}
    assert box.container(bundle).run().status != 0


@peer_deviates("runc", NOT_RUNC)
@peer_deviates("crun", "sends no listener without a listenerPath", sometimes=True)
def test_the_receiver_is_sent_the_listener(box: Box) -> None:
    agent = socket.socket(socket.AF_UNIX)
    path = os.fspath(box.folder / "agent")
    agent.bind(path)
    agent.listen(1)
    bundle = box.bundle("/probe", "wait")
    rule = {"names": ["swapoff"], "action": "SCMP_ACT_NOTIFY"}
    bundle.linux["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}
    bundle.config["annotations"] = {"run.oci.seccomp.receiver": path}
    box.created(bundle)
    agent.settimeout(5)
    connection = agent.accept()[0]
    _, fds, _, _ = socket.recv_fds(connection, 65536, 1)
    assert "seccomp notify" in os.readlink(f"/proc/self/fd/{fds[0]}")
    os.close(fds[0])
    connection.close()
    agent.close()


@needs("ours")
@pytest.mark.parametrize("path", ["relative", ""])
def test_a_receiver_that_is_no_absolute_path_is_refused(box: Box, path: str) -> None:
    bundle = box.bundle("true")
    rule = {"names": ["swapoff"], "action": "SCMP_ACT_NOTIFY"}
    bundle.linux["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}
    bundle.config["annotations"] = {"run.oci.seccomp.receiver": path}
    box.container(bundle).run().failed("not an absolute path")


@needs("ours")
def test_the_words_for_an_agent_that_is_not_there(box: Box) -> None:
    bundle = box.bundle("true")
    rule = {"names": ["swapoff"], "action": "SCMP_ACT_NOTIFY"}
    bundle.linux["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/no/such/agent", "syscalls": [rule],
    }  # fmt: skip
    box.container(bundle).run().failed("failed to connect with seccomp agent")
