"""The messages of the keeper of a program."""

from __future__ import annotations

import os
import select
import sys
from typing import TYPE_CHECKING

import pytest

from ocirun.kernel.companion import Companion

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def companion() -> Iterator[tuple[Companion, int]]:
    """Return a companion without processes, and the end that its keeper writes to."""
    one = object.__new__(Companion)
    one._unread = b""
    one.told_fd, told = os.pipe2(os.O_CLOEXEC)
    one.words_fd, words = os.pipe2(os.O_CLOEXEC)
    os.close(words)
    yield one, told
    one.close()
    os.close(told)


def message(kind: bytes, value: int) -> bytes:
    return kind + value.to_bytes(4, sys.byteorder, signed=True)


def is_readable(companion: Companion) -> bool:
    return bool(select.select([companion.told_fd], [], [], 0)[0])


def test_a_second_message_can_be_polled_for(companion: tuple[Companion, int]) -> None:
    one, told = companion
    os.write(told, message(b"k", 7) + message(b"e", 9))
    assert one.message() == ("k", 7)
    assert is_readable(one)
    assert one.message() == ("e", 9)
    assert not is_readable(one)


def test_the_programs_notice_is_one_byte(companion: tuple[Companion, int]) -> None:
    one, told = companion
    os.write(told, message(b"k", 7) + b"1" + message(b"e", 0))
    assert [one.message() for _ in range(3)] == [("k", 7), ("1", 0), ("e", 0)]


def test_a_message_that_comes_in_pieces(companion: tuple[Companion, int]) -> None:
    one, told = companion
    whole = message(b"f", -2)
    os.write(told, whole[:2])
    os.write(told, whole[2:])
    assert one.message() == ("f", -2)
