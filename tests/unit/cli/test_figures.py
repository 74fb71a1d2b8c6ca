"""Numbers as people read them."""

from __future__ import annotations

import pytest

from ocirun.cli.figures import aligned, format_size, graph, rate, share


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (None, "-"),
        (0, "0B"),
        (1023, "1023B"),
        (1024, "1.0K"),
        (1536, "1.5K"),
        (10 * 1024, "10K"),
        (64 << 20, "64M"),
        ((5 << 30) - 1, "4.9G"),
        (2**64 - 1, "15E"),
        (10**40, "8470329472543003390Z"),
    ],
)
def test_sizes_are_shown_in_three_digits(count: int | None, expected: str) -> None:
    assert format_size(count) == expected


def test_rates_and_shares() -> None:
    assert (rate(None), rate(2048), share(None), share(0), share(1234.56)) == (
        "-", "2.0K/s", "-", "0.0%", "1234.6%",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("values", "width", "full", "expected"),
    [
        ([], 4, 100, "    "),
        ([0, 50, 100], 5, 100, "  ▁▅█"),
        ([0, 50, 100], 2, 100, "▅█"),
        ([10, 20], 2, 0, "▅█"),
        ([200], 1, 100, "█"),
        ([0, 0], 3, 0, " ▁▁"),
        ([1], 0, 100, ""),
    ],
)
def test_a_graph_scales_its_values(
    values: list[float], width: int, full: float, expected: str
) -> None:
    assert graph(values, width, full) == expected


def test_columns_are_aligned() -> None:
    assert aligned([["A", "BB"], ["aaa", "b"]]) == "A    BB\naaa  b\n"
    assert aligned([]) == ""
