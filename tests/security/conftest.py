"""Attacks: every test is checked for what it did to /dev."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _dev(unchanged_dev: None) -> None:
    """Each test here has a /dev of its own."""
