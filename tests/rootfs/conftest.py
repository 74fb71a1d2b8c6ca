"""Functions of ocirun/rootfs on the real kernel: in a forked child, without a container."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from harness.fixtures import host_dev, unchanged_dev  # noqa: F401


@pytest.fixture(autouse=True)
def needs_root() -> None:
    if os.geteuid() != 0:
        pytest.skip("not root")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An empty root, and a directory beside it that must stay empty."""
    (tmp_path / "outside").mkdir()
    made = tmp_path / "root"
    made.mkdir()
    return made
