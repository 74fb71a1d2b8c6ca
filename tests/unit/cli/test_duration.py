"""Durations as Go reads them."""

from __future__ import annotations

import pytest

from ocirun.cli.duration import nanoseconds
from ocirun.errors import UsageError

SECOND = 1_000_000_000


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("5s", 5 * SECOND),
        ("1m30s", 90 * SECOND),
        ("500ms", SECOND // 2),
        ("1.5h", 5400 * SECOND),
        (".5s", SECOND // 2),
        ("1.s", SECOND),
        ("+3us", 3000),
        ("3µs", 3000),
        ("3μs", 3000),
        ("7ns", 7),
        ("1h1m1s1ms1us1ns", 3_661_001_001_001),
        ("0", 0),
        ("-0", 0),
        ("0s", 0),
        ("-5s", -5 * SECOND),
        ("0.1234567899s", 123_456_789),
        ("2562047h", 2562047 * 3600 * SECOND),
    ],
)
def test_what_go_takes(text: str, expected: int) -> None:
    assert nanoseconds(text, "interval") == expected


@pytest.mark.parametrize(
    "text",
    ["", "-", "5", "s", ".s", "5x", "5 s", "5s ", "1.2.3s", "--5s", "1e3s", "٣s", "5S", "2562048h",
     "9" * 99 + "s", "1s" * 1000, "0x5s"],
)  # fmt: skip
def test_what_go_refuses(text: str) -> None:
    with pytest.raises(UsageError, match="for flag -interval: parse error"):
        nanoseconds(text, "interval")


def test_the_words_for_a_refusal_drive_no_terminal() -> None:
    with pytest.raises(UsageError) as caught:
        nanoseconds("\x1b[2J", "interval")
    assert str(caught.value).isprintable()
