"""Sizes and numbers of `update`'s flags, as go-units and strconv read them."""

from __future__ import annotations

import pytest

from ocirun.cli.sizes import parse_size, whole_number
from ocirun.errors import UsageError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("-1", -1),
        ("32", 32),
        ("32b", 32),
        ("32B", 32),
        ("32k", 32 << 10),
        ("32K", 32 << 10),
        ("32kb", 32 << 10),
        ("32Kib", 32 << 10),
        ("512m", 512 << 20),
        ("512 MiB", 512 << 20),
        ("1.5g", 3 << 29),
        (".5t", 1 << 39),
        ("2P", 1 << 51),
        ("0.1k", 102),
        ("9223372036854775807", 2**63 - 1),
        ("9007199254740993", 2**53 + 1),  # a float would lose the last digit
    ],
)
def test_sizes_are_parsed_with_their_units(text: str, value: int) -> None:
    assert parse_size(text, "memory") == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        "m",
        "-2",
        "-1m",
        "5x",
        "ib",
        "5ibb",
        "5bb",
        "1e3",
        "0x10",
        "1..5",
        "1.2.3",
        "٣",
        "1_0",
        ".",
    ],
)
def test_what_is_no_size_is_refused_with_its_flag(text: str) -> None:
    with pytest.raises(UsageError, match=r"invalid value for memory-swap: .* is not a size"):
        parse_size(text, "memory-swap")


@pytest.mark.parametrize("text", ["9223372036854775808", "8192p", "9" * 40])
def test_what_is_no_int64_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is too large"):
        parse_size(text, "memory")


@pytest.mark.parametrize(("text", "value"), [("0", 0), ("-7", -7), ("0012", 12)])
def test_whole_numbers_are_parsed(text: str, value: int) -> None:
    assert whole_number(text, "cpu-quota") == value


@pytest.mark.parametrize("text", ["", "-", "1.0", "1k", "+1", " 1", "1_0", "٣", "1" * 21])
def test_what_is_no_whole_number_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="invalid value for cpu-quota"):
        whole_number(text, "cpu-quota")
