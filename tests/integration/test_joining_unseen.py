"""A process on its way into a container is nothing that the container can look into.

Source: CVE-2016-9962; docs/runc-compat/security.md#vulnerabilities.
"""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

from harness.box import Box
from harness.needs import needs
from harness.runtime import finish, wait_until


@needs("userns", "ours")
def test_while_its_filter_is_brought_to_the_agent(box: Box) -> None:
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
