"""What the runtime was called with is not to be read inside the container.

Attack: a process of the container with CAP_SYS_PTRACE reads /proc/PID/cmdline, /proc/PID/environ
and the memory of init at its gate, and of a process of exec that is held on its way in.

On runc 1.1.5 nothing is found of init, which is a program of its own, `runc init`, and has an
environment of its own. Its exec cannot be held: it fails where the agent's queue is full. On crun
1.8.1 command line, environment and memory of both are read.

Source: proc_pid_cmdline(5), which anybody may read; proc_pid_environ(5), ptrace(2).
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Generator

import pytest
from harness.box import Box
from harness.needs import needs
from harness.peers import peer_deviates
from harness.runtime import finish

pytestmark = needs("root")

ARGUMENT, VARIABLE = "secret-of-the-command-line", "secret-of-the-environment"
BACKWARDS = ARGUMENT[::-1], VARIABLE[::-1]  # as probe peek wants them
PTRACE = {name: ["CAP_SYS_PTRACE"] for name in ("bounding", "effective", "permitted")}
NOTIFY_SWAPOFF = {"names": ["swapoff"], "action": "SCMP_ACT_NOTIFY"}
ENVIRONMENT = {**os.environ, "OCITEST_SECRET": VARIABLE}


def looked(text: str) -> tuple[int, ...]:
    """How many command lines, environments and memories `probe peek` has read."""
    line = text[text.rindex("looked at ") :]
    return tuple(int(word) for word in line.split() if word.isdigit())


def found(text: str) -> list[str]:
    """What was found where it must not be.

    Arguments become variables and paths of the program, and are in memory as such: for who may
    trace the process they are no secret. The environment of the caller is in no memory.
    """
    lines = [line for line in text.splitlines() if line.startswith("found ")]
    return [line for line in lines if not line.endswith(f"memory {ARGUMENT}")]


@pytest.fixture
def agent() -> Generator[socket.socket, None, None]:
    with socket.socket(socket.AF_UNIX) as agent:
        yield agent


@peer_deviates("crun", "1.8 has all of it")
@pytest.mark.parametrize("userns", [False, pytest.param(True, marks=needs("userns"))])
def test_init_at_its_gate_has_nothing_of_its_caller(each_way: Box, userns: bool) -> None:
    bundle = each_way.bundle("/probe", "wait", capabilities=PTRACE)
    if userns:
        bundle.use_userns((0, 100000, 65536))
    container = each_way.container(bundle)
    container.create("--pid-file", each_way.folder / ARGUMENT, env=ENVIRONMENT).ok()
    text = container.exec("/probe", "peek", "once", *BACKWARDS).ok().stdout
    assert found(text) == []
    lines, environments, _ = looked(text)
    # CAP_SYS_PTRACE of a user namespace is no right over a process that cannot be dumped, and an
    # executed init has an empty environment.
    assert lines == 1
    assert environments <= (0 if userns else 1)


@peer_deviates("crun", "1.8 has all of it")
@peer_deviates("runc", "1.1 does not wait for an agent, and fails")
def test_a_process_of_exec_has_nothing_of_its_caller(each_way: Box, agent: socket.socket) -> None:
    """It is held where its filter is sent to an agent, whose queue is full after create."""
    path = each_way.folder / "agent"
    agent.bind(os.fspath(path))
    agent.listen(0)
    bundle = each_way.bundle("/probe", "peek", *BACKWARDS, capabilities=PTRACE)
    bundle.linux["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "listenerPath": os.fspath(path),
        "syscalls": [NOTIFY_SWAPOFF],
    }
    container = each_way.running(bundle)
    container.wait_output("ready")
    words = ("exec", "--env", f"TOKEN={ARGUMENT}", container.id, "/bin/true")
    process, result = each_way.runtime.spawn(*words, env=ENVIRONMENT)
    time.sleep(1.5)
    agent.accept()[0].close()
    assert finish(process, result).status == 0
    container.kill("TERM").ok()
    text = container.wait_output("looked")
    assert found(text) == []
    lines, _, memories = looked(text)
    assert lines > 0
    assert memories > 0
