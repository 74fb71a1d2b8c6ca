"""Lists of CPUs and nodes."""

from __future__ import annotations

import re

import pytest

from ocirun.spec.cpulist import MAX_NUMBER, bits_of, numbers_of


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("", []),
        (" , ,", []),
        ("0", [0]),
        ("0-3,7", [0, 1, 2, 3, 7]),
        (" 1 - 2 , 4 ", [1, 2, 4]),
        ("5,5,4-5", [4, 5]),
        ("0007", [7]),
        ("2047", [2047]),
        (str(MAX_NUMBER), [MAX_NUMBER]),
    ],
)
def test_a_list_is_a_set_of_bits(text: str, numbers: list[int]) -> None:
    assert bits_of(text) == sum(1 << number for number in numbers)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("3-1", '"3-1" ends before it begins'),
        ("1,x", '"x" is not a number or a range of numbers'),
        ("-1", '"-1" is not a number or a range of numbers'),
        ("1-", '"1-" is not a number or a range of numbers'),
        ("1-2-3", '"1-2-3" is not a number or a range of numbers'),
        ("1 2", '"1 2" is not a number or a range of numbers'),
        ("٣", '"٣" is not a number or a range of numbers'),
        ("0-32768", '"0-32768" is beyond 32767'),
        ("9" * 5000, f'"{"9" * 5000}" is beyond 32767'),
    ],
)
def test_what_is_no_list_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        bits_of(text)


def test_a_list_becomes_its_numbers_in_order() -> None:
    assert numbers_of("7, 0-2,1\n") == [0, 1, 2, 7]
    assert numbers_of("") == []
