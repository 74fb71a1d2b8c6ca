"""An AppArmor label reaches the kernel, whatever the image has at /proc.

CVE-2019-16884, CVE-2023-27561, CVE-2023-28642, CVE-2025-52881; youki's CVE-2025-62596.
runc 1.1.5 refuses a /proc that is a link.
"""

from __future__ import annotations

import subprocess
from collections.abc import Generator
from pathlib import Path

import pytest
from harness.box import Box
from harness.machine import MARK
from harness.needs import needs

pytestmark = needs("root", "apparmor", "tool apparmor_parser")

CONFINED = f"{MARK}-attacked"
PROFILE = f"profile {CONFINED} {{ file, capability, network, signal, mount, ptrace, unix, }}"


@pytest.fixture(scope="module", autouse=True)
def _profile() -> Generator[None, None, None]:
    for action in ("--replace", "--remove"):
        words = ["apparmor_parser", "--skip-cache", "--quiet", action]
        subprocess.run(words, input=PROFILE, text=True, check=True)
        if action == "--replace":
            yield


def label(pid: int) -> str:
    """What confines a process, as the host's kernel has it."""
    return Path(f"/proc/{pid}/attr/apparmor/current").read_text().strip()


def enforced(profile: str) -> str:
    return f"{profile} (enforce)"


def test_a_false_proc_of_the_image(box: Box) -> None:
    """CVE-2019-16884: a writable file where the label would be written."""
    bundle = box.bundle("/probe", "wait", apparmorProfile=CONFINED)
    bundle.mounts[:] = [entry for entry in bundle.mounts if entry["type"] != "proc"]
    false = bundle.rootfs / "proc/self/attr/apparmor"
    false.mkdir(parents=True)
    files = [false / "exec", false.parent / "exec"]
    for file in files:
        file.write_text("")
    container = box.container(bundle)
    call = container.create()
    if call.status == 0:
        call = container.start()
    if box.runtime.name == "ours":
        call.ok()
    if call.status == 0:  # a peer may also refuse it
        container.wait_output("ready")
        assert label(container.pid) == enforced(CONFINED)
    assert [file.read_text() for file in files] == ["", ""]


def test_a_proc_that_is_a_link(box: Box) -> None:
    """CVE-2023-27561."""
    bundle = box.bundle("/probe", "wait", apparmorProfile=CONFINED)
    (bundle.rootfs / "proc").rmdir()
    (bundle.rootfs / "tmp/self/attr").mkdir(parents=True)
    (bundle.rootfs / "tmp/self/attr/exec").write_text("")
    (bundle.rootfs / "proc").symlink_to("tmp")
    container = box.container(bundle)
    if container.create().status == 0:
        container.start().ok()
        container.wait_output("ready")
        assert label(container.pid) == enforced(CONFINED)
    assert (bundle.rootfs / "tmp/self/attr/exec").read_text() == ""
