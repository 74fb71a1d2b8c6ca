"""linux.seccomp holds for a process of exec.

Source: runtime-spec config-linux.md#seccomp.
"""

from __future__ import annotations

from errno import EPERM

import pytest
from harness.box import Box
from harness.needs import needs

pytestmark = needs("root")

NO_MKDIR = {
    "defaultAction": "SCMP_ACT_ALLOW",
    "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}],
}


class TestFilter:
    """linux.seccomp holds for every process of the container."""

    @pytest.mark.parametrize("flags", [(), ("--no-new-privs",), ("--user", "1000")])
    def test_the_filter_applies_to_exec(self, box: Box, flags: tuple[str, ...]) -> None:
        bundle = box.bundle("/probe", "wait")
        bundle.linux["seccomp"] = NO_MKDIR
        container = box.running(bundle)
        call = container.exec("/probe", "try", "mkdir:/tmp/x", "create:/tmp/y", flags=flags)
        assert [entry["errno"] for entry in call.ok().json()] == [EPERM, 0]
        assert container.exec("/probe", flags=flags).ok().json()["seccomp"] == "2"

    def test_it_applies_to_a_process_file(self, box: Box) -> None:
        bundle = box.bundle("/probe", "wait")
        bundle.linux["seccomp"] = NO_MKDIR
        process = {"args": ["/probe", "try", "mkdir:/tmp/x"], "cwd": "/"}
        call = box.running(bundle).exec_process(process)
        assert call.ok().json()[0]["errno"] == EPERM
