"""The annotation org.ocirun.overlay: what is a size.

Source: docs/library.md#an-overlay; tmpfs(5).
"""

from __future__ import annotations

from typing import Any

import pytest

from ocirun.errors import SpecError
from ocirun.spec import OVERLAY
from ocirun.spec.overlay import check_overlay


def config(size: str) -> Any:  # noqa: ANN401  # as much of one as is looked at
    return {"annotations": {OVERLAY: size}, "linux": {"namespaces": [{"type": "mount"}]}}


@pytest.mark.parametrize("size", ["", "1", "64m", "50%", "9" * 19])
def test_a_size_is_a_number_with_a_unit_or_nothing(size: str) -> None:
    check_overlay(config(size))


# Python refuses to read a number of more than 4,300 digits.
@pytest.mark.parametrize("size", ["0", "m", "-1", "1.5g", "\u0662", "9" * 20, "9" * 5000])
def test_what_is_no_size_is_refused(size: str) -> None:
    with pytest.raises(SpecError, match="no size"):
        check_overlay(config(size))
