"""Fixtures of the integration tests."""

from __future__ import annotations

from harness.fixtures import *  # noqa: F403
