"""The bare Debian of tests/deb: it has no Python."""

from __future__ import annotations

from deb.conftest import memory, untouched

__all__ = ["memory", "untouched"]
