"""A bare Debian, made once for all tests of this folder, in memory: dpkg syncs every file."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from deb.bare import Bare


@pytest.fixture(scope="session")
def memory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder in memory for root file systems."""
    folder = tmp_path_factory.mktemp("memory")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "bare", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture(scope="session")
def untouched(memory: Path) -> Bare:
    """A bare Debian of this machine's release; whoever changes it works on a copy."""
    return Bare.install(memory / "untouched")
