"""A created container ends on the signals that would end its program.

Source: signal(7); pid_namespaces(7): process 1 gets only signals that it handles.
"""

from __future__ import annotations

import os
import time

import pytest
from harness.box import Box
from harness.needs import needs
from harness.peers import peer_deviates

pytestmark = needs("root")

ENDING = ["HUP", "INT", "QUIT", "TERM", "USR1", "USR2", "ALRM", "PIPE", "RTMIN", "XFSZ"]
OTHERS = ["CHLD", "URG", "WINCH", "CONT"]
PROFILE = {"defaultAction": "SCMP_ACT_ALLOW"}


@peer_deviates("crun", "1.8.1 ignores them", sometimes=True)
@peer_deviates("runc", "the Go runtime does not end on each of them", sometimes=True)
@pytest.mark.parametrize("signal", ENDING)
def test_a_waiting_init_ends(box: Box, signal: str) -> None:
    container = box.created()
    container.kill(signal).ok()
    container.wait_status("stopped")


@pytest.mark.parametrize("signal", OTHERS)
def test_a_waiting_init_stays(box: Box, signal: str) -> None:
    container = box.created(None, "/probe", "wait")
    container.kill(signal).ok()
    time.sleep(0.2)
    assert container.status == "created"
    container.start().ok()
    container.wait_output("ready")


@peer_deviates("crun", "1.8.1 ignores it", sometimes=True)
@pytest.mark.parametrize("kind", ["seccomp", "no_new_privs", "user", "host pid", "userns"])
def test_in_each_kind_of_container(box: Box, kind: str) -> None:
    bundle = box.bundle("/probe", "wait")
    if kind in ("seccomp", "no_new_privs"):
        bundle.linux["seccomp"] = PROFILE
        bundle.process["noNewPrivileges"] = kind == "no_new_privs"
    elif kind == "user":
        bundle.process["user"] = {"uid": 1000, "gid": 1000}
    elif kind == "userns":
        bundle.use_userns((0, 100000, 65536))
    else:
        bundle.drop_namespace("pid")
    container = box.created(bundle)
    container.kill("TERM").ok()
    container.wait_status("stopped")


@needs("ours")
def test_the_status_is_that_of_a_shell(box: Box) -> None:
    container = box.created()
    pid = container.pid
    container.kill("TERM").ok()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 128 + 15


def test_the_program_has_every_default(box: Box) -> None:
    signals = box.report(box.bundle())["signals"]
    masks = [int(signals[name], 16) for name in ("ignored", "caught", "blocked")]
    assert masks == [0, 0, 0]
