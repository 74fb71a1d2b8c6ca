"""How people write signals."""

from __future__ import annotations

import pytest

from ocirun.container.kill import signal_number
from ocirun.errors import UsageError


@pytest.mark.parametrize(
    ("word", "number"),
    [("TERM", 15), ("SIGKILL", 9), ("sigusr1", 10), ("hup", 1), ("9", 9), ("64", 64), ("0", 0)],
)
def test_numbers_and_names(word: str, number: int) -> None:
    assert signal_number(word) == number


def test_leading_zeros_count_for_nothing() -> None:
    """00009 was once read as 0000: nothing was sent, and that was called a success."""
    assert signal_number("00009") == 9


@pytest.mark.parametrize("word", ["65", "1" * 5000, "-9", "٩", "", "SIG", "TERMINATE"])
def test_others_are_none(word: str) -> None:
    with pytest.raises(UsageError, match="unknown signal"):
        signal_number(word)
