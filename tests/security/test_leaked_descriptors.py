"""CVE-2024-21626: no descriptor of the runtime or of its caller is a way out of the container.

Attacks: `process.cwd` is /proc/self/fd/N, and the program looks around from there.

Debian's runc 1.1.5 carries the fix, and passes.

Source: CVE-2024-21626; docs/runc-compat/security.md#vulnerabilities.
"""

from __future__ import annotations

import os

import pytest
from harness.box import Box
from harness.needs import needs
from harness.peers import peer_deviates

pytestmark = needs("root")


class TestInit:
    """process.cwd of the container's own process."""

    @pytest.mark.parametrize("number", range(3, 12))
    def test_a_descriptor_of_the_runtime_is_no_way_out(self, box: Box, number: int) -> None:
        bundle = box.bundle(cwd=f"/proc/self/fd/{number}")
        call = box.container(bundle).run()
        # Either refused, or a folder of the container's own.
        if call.status == 0:
            assert call.json()["cwd"].startswith("/")  # getcwd(2) says "(unreachable)" outside

    @peer_deviates("crun", "1.8 changes into it")
    def test_a_descriptor_the_caller_left_open_is_no_way_out(self, box: Box) -> None:
        outside = os.open("/etc", os.O_RDONLY | os.O_DIRECTORY)
        try:
            bundle = box.bundle("sh", "-c", "ls; cat machine-id", cwd=f"/proc/self/fd/{outside}")
            call = box.container(bundle).run(pass_fds=[outside])
        finally:
            os.close(outside)
        assert call.status != 0, call.stdout


class TestExec:
    """process.cwd of a process that joins."""

    @peer_deviates("crun", "1.8 changes into it")
    def test_no_descriptor_of_ours_is_a_way_out(self, box: Box) -> None:
        container = box.running()
        folder = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
        os.set_inheritable(folder, True)
        for number in [*range(3, 21), folder]:
            cwd = f"/proc/self/fd/{number}"
            call = container.exec("/bin/ls", flags=("--cwd", cwd), close_fds=False)
            assert call.status == 255, cwd
        os.close(folder)

    @peer_deviates("crun", "resolves it", sometimes=True)
    @pytest.mark.parametrize("cwd", ["/proc/self/root", "/proc/1/cwd", "/proc/self/cwd"])
    def test_magic_links_are_no_directories(self, box: Box, cwd: str) -> None:
        call = box.running().exec("pwd", flags=("--cwd", cwd))
        assert call.status == 255 or call.stdout == "/\n"

    def test_a_link_stays_inside(self, box: Box) -> None:
        container = box.running()
        (container.bundle.rootfs / "link").symlink_to("/../../etc")
        call = container.exec("cat", "hostname", flags=("--cwd", "/link"))
        assert call.ok().stdout == "rootfs\n"
