"""Fixtures of the integration tests: harness/fixtures.py has them."""

from __future__ import annotations

from harness.etc_criu import etc_criu  # noqa: F401
from harness.fixtures import (  # noqa: F401
    box,
    cgroup,
    each_way,
    host_dev,
    name,
    programs,
    runtime_under_test,
    session_folder,
    shared,
    unchanged_dev,
)
from harness.networks import net  # noqa: F401
