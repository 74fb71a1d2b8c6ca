"""Every integration test is checked for what it did to /dev."""

from __future__ import annotations

import pytest
from harness.cgroups import cgroup, name  # noqa: F401  # fixtures


@pytest.fixture(autouse=True)
def _dev(unchanged_dev: None) -> None:
    """Each test here has a /dev of its own."""
