"""Programs of the host that are looked for by name, with PATH as an attacker would like it.

`.` and an empty entry of PATH mean the folder that the caller happens to be in: a bundle from
somewhere, /tmp. What lies there under the name of a helper would run with the runtime's rights.

Outcome on the peers: not comparable; Go's exec.LookPath refuses such results since 1.19, and crun
looks for `criu` by dlopen only.

Source: environ(7); pkg.go.dev/os/exec, "Executables in the current directory".
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from harness.box import Box
from harness.needs import needs
from harness.user import Home

pytestmark = [needs("root"), needs("ours")]

SYSTEM = "/usr/sbin:/usr/bin:/sbin:/bin"
HELPERS = ("ps", "criu", "newuidmap", "newgidmap", "modprobe", "ip", "sh")
PATHS = [
    pytest.param(f".:{SYSTEM}", id="dot"),
    pytest.param(f":{SYSTEM}", id="empty entry"),
    pytest.param(f"{SYSTEM}:", id="empty last entry"),
    pytest.param(f"./here:here:{SYSTEM}", id="relative folder"),
    pytest.param("", id="empty"),
    pytest.param(None, id="unset"),
]


class Trap:
    """A folder with programs under the helpers' names; each leaves a mark when it is run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "trap"
        self.mark = folder / "ran"
        for place in (self.folder, self.folder / "here"):
            place.mkdir()
            for name in HELPERS:
                program = place / name
                program.write_text(f"#!/bin/sh\necho {name} >> {self.mark}\n")
                program.chmod(0o755)
        self.mark.touch()
        self.mark.chmod(0o666)

    def check(self) -> None:
        assert self.mark.read_text() == ""


@pytest.fixture
def trap(box: Box) -> Trap:
    return Trap(box.folder)


def environment(path: str | None) -> dict[str, str]:
    return {} if path is None else {"PATH": path}


@pytest.mark.parametrize("path", PATHS)
def test_ps_is_never_taken_from_the_working_directory(
    box: Box, trap: Trap, path: str | None
) -> None:
    container = box.running()
    result = box.runtime.call("ps", container.id, cwd=trap.folder, env=environment(path))
    trap.check()
    if path and "/usr/bin" in path:
        assert str(container.pid) in result.ok().stdout
    else:
        result.failed("ps", "not found in $PATH")


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("verb", ["checkpoint", "restore"])
def test_criu_is_never_taken_from_the_working_directory(
    box: Box, trap: Trap, path: str | None, verb: str
) -> None:
    """CRIU need not be installed: what lies here would be taken for it."""
    container = box.running()
    box.runtime.call(verb, container.id, cwd=trap.folder, env=environment(path))
    trap.check()


@pytest.mark.parametrize("path", PATHS)
def test_doctor_runs_nothing_from_the_working_directory(
    box: Box, trap: Trap, path: str | None
) -> None:
    subprocess.run(
        [box.runtime.path, "--root", box.runtime.root, "doctor"],
        cwd=trap.folder,
        env=environment(path),
        capture_output=True,
        timeout=60,
        check=False,
    )
    trap.check()


@needs("userns")
@pytest.mark.parametrize("path", PATHS)
def test_newuidmap_is_never_taken_from_the_working_directory(
    box: Box, trap: Trap, path: str | None
) -> None:
    home = Home(box)
    bundle = home.bundle("true", subordinate=True)
    keys = home.keys | {"env": {**home.user.environment, "PATH": path or ""}, "cwd": trap.folder}
    if path is None:
        del keys["env"]["PATH"]
    box.container(bundle).run(**keys)
    trap.check()


@pytest.mark.parametrize("path", ["hook", "./hook", "here/hook", ""])
def test_a_hook_has_an_absolute_path(box: Box, trap: Trap, path: str) -> None:
    """And is looked for nowhere."""
    container = box.container(None, "true")
    for place in (trap.folder, trap.folder / "here", container.bundle.path):
        os.link(trap.folder / "sh", place / "hook")
    container.bundle.config["hooks"] = {"prestart": [{"path": path}]}
    container.run(cwd=trap.folder, env={"PATH": f".:{SYSTEM}"}).failed("/hooks/prestart/0/path")
    trap.check()
