"""Fixtures of the attacks."""

from __future__ import annotations

from harness.fixtures import *  # noqa: F403
