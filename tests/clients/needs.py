"""What a runtime cannot do yet."""

from __future__ import annotations

import pytest

from clients.calls import call


def skip_without(verb: str, runtime: str) -> None:
    """Skip the test when the runtime has no such verb."""
    if call(runtime, verb, "--help").code:
        pytest.skip(f"the runtime has no verb {verb}")
