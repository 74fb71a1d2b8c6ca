"""An /etc/criu for one test: the machine's own files in /etc stay as they are."""

from __future__ import annotations

import subprocess
from collections.abc import Generator
from pathlib import Path

import pytest

from harness.box import Box
from harness.host_dev import MS_BIND
from harness.machine import MNT_DETACH, libc_call


@pytest.fixture
def etc_criu(box: Box) -> Generator[Path, None, None]:
    """Yield an empty /etc/criu, in a copy of /etc that covers the machine's for this session."""
    copy = box.folder / "etc"
    subprocess.run(["cp", "-a", "/etc", copy], check=True)
    libc_call("mount", bytes(copy), b"/etc", None, MS_BIND, None)
    try:
        folder = Path("/etc/criu")
        if folder.exists():
            subprocess.run(["rm", "-r", copy / "criu"], check=True)
        folder.mkdir(mode=0o755)
        yield folder
    finally:
        libc_call("umount2", b"/etc", MNT_DETACH)
