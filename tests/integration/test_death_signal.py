"""Who dies with whom: init with the runtime until its gate, the container with nobody.

Source: docs/runc-compat/protocols.md#detached-mode, docs/runc-compat/state.md#leftovers,
docs/runc-compat/init.md#order-of-init.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from harness.box import Box, Container
from harness.leaks import reap
from harness.needs import needs
from harness.runtime import wait_until

CALLER = """
import ctypes, subprocess, sys
death = lambda: ctypes.CDLL(None).prctl(1, 9, 0, 0, 0)
with open({out!r}, "wb") as out:
    sys.exit(subprocess.call({argv!r}, preexec_fn=death, stdout=out, stderr=out))
"""


def called_by_who_dies(box: Box, container: Container, *words: str) -> Path:
    """Call the runtime as conmon and shims do, with a death signal; the caller ends at once."""
    out = box.folder / "out"
    argv = container.runtime.prepare(
        *words, "-b", container.bundle.path, container.id, bundle=container.bundle
    ).argv
    script = CALLER.format(out=str(out), argv=argv)
    assert subprocess.run(["python3", "-c", script], check=False, timeout=20).returncode == 0
    return out


def arrange(container: Container, kind: str) -> None:
    if kind == "user namespace":
        container.bundle.use_userns((0, 100000, 65536))
    elif kind == "another user":
        container.bundle.process["user"] = {"uid": 1000, "gid": 1000}


KINDS = ["root", "another user", pytest.param("user namespace", marks=needs("userns"))]


@pytest.mark.parametrize("kind", KINDS)
def test_a_created_container_outlives_the_caller(box: Box, kind: str) -> None:
    container = box.container(None, "/probe", "wait")
    arrange(container, kind)
    out = called_by_who_dies(box, container, "create")
    assert container.status == "created"
    container.start().ok()
    wait_until(lambda: "ready" in out.read_text(), "ready")
    assert container.status == "running"


@pytest.mark.parametrize("kind", KINDS)
def test_the_program_has_no_death_signal(box: Box, kind: str) -> None:
    container = box.container()
    arrange(container, kind)
    out = called_by_who_dies(box, container, "run", "--detach")
    wait_until(lambda: out.read_text().endswith("}\n"), "the report")
    assert json.loads(out.read_text())["pdeathsig"] == 0


@needs("ours")  # whose init is its child from the first moment; the peers' is not
@pytest.mark.parametrize("kind", KINDS)
def test_init_dies_with_the_runtime_while_it_is_made(box: Box, kind: str) -> None:
    """Killed in the middle of create, the runtime leaves no process, and `delete -f` the rest."""
    container = box.container()
    arrange(container, kind)
    here = box.folder / "here"
    container.bundle.config["hooks"] = {
        "createContainer": [
            {"path": "/bin/sh", "args": ["sh", "-c", f"echo > {here}; exec sleep 30"]}
        ]
    }
    here.touch()
    here.chmod(0o666)
    process, _ = container.runtime.spawn(
        "create", "-b", container.bundle.path, container.id, bundle=container.bundle
    )
    wait_until(lambda: here.read_text() == "\n", "the hook")
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    inits = [int(pid) for pid in children]
    assert inits
    process.kill()
    process.wait()

    def gone() -> bool:
        reap({process.pid})
        return not any(Path(f"/proc/{pid}").exists() for pid in inits)

    wait_until(gone, "the end of init", timeout=3)
    container.delete("--force").ok()
    assert not (container.runtime.root / container.id).exists()
