"""Spoil a document: change bytes of any, and places of one that is JSON.

All choices come from a `random.Random`, so that a run is repeated by its seed; Hypothesis hands in
one that it controls and shrinks.
"""
# ruff: noqa: ANN401  # documents are JSON; nothing here is a secret

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from random import Random
from typing import Any

MAX_BYTES = 1 << 16
MAX_CHANGES = 4

NUMBERS = [
    sign * bound + step
    for bound in (0, 1, 8, 100, 255, 1000, 4096, 65535, 2**31, 2**32, 2**53, 2**63, 2**64)
    for sign in (1, -1)
    for step in (-1, 0, 1)
] + [10**30, -(10**30)]
TEXTS = [
    "", " ", "/", ".", "..", "../..", "//", "a/../../b", "/proc/self/fd/3", "x" * 5000, "ü", "\n",
    "\x1b[2J", "\x00", "\ud800", "%s%n", "-1", "1e9", "0x10", "٣", "\N{ZERO WIDTH SPACE}", "=", ":",
]  # fmt: skip
PIECES = [
    b"", b"\0", b"\n", b"\r\n", b"\t", b" ", b"\\", b"\\040", b"\x0c", b"\xff", b"\xc3",
    b"\xef\xbb\xbf",
    b"-", b"0", b"9" * 30, b"9" * 5000, b"1e999", b"0x", b":", b",", b"=", b"/", b"..", b"[", b"{",
    b"[" * 300, b'{"a":' * 300, b"]", b"}", b'"', b"\\u0000", b"\\ud800", b"null", b"NaN", b"true",
    b"\x1b[31m", b"A" * 5000, b"\n" * 5000,
]  # fmt: skip


def mutate(random: Random, data: bytes, pieces: Sequence[bytes] = (), *, is_json: bool) -> bytes:
    """Return `data` with one to four changes; `pieces` are words of its format."""
    if is_json and random.random() < 0.7:
        try:
            document = json.loads(data)
        except (ValueError, RecursionError):
            document = None
        if document is not None:
            words = [piece.decode(errors="replace") for piece in pieces]
            holder = {"": document}
            for _ in range(random.randint(1, MAX_CHANGES)):
                _change_place(random, holder, words)
            return json.dumps(holder.get("")).encode()
    result = bytearray(data)
    for _ in range(random.randint(1, MAX_CHANGES)):
        _change_bytes(random, result, [*PIECES, *pieces])
    return bytes(result[:MAX_BYTES])


def _change_bytes(random: Random, data: bytearray, pieces: Sequence[bytes]) -> None:
    start = random.randint(0, len(data))
    end = min(len(data), start + random.choice((0, 0, 1, 1, 2, 4, 16, 64)))
    match random.randrange(6):
        case 0:  # another word in the place of some bytes
            data[start:end] = random.choice(pieces)
        case 1:  # any byte
            data[start:end] = bytes((random.randrange(256),))
        case 2:  # without them
            del data[start:end]
        case 3:  # a bit
            if start < len(data):
                data[start] ^= 1 << random.randrange(8)
        case 4:  # the same again, elsewhere
            data[end:end] = data[start : start + random.choice((1, 8, 64, 512))]
        case _:  # cut
            del data[random.choice((start, end)) :]


def _change_place(random: Random, holder: dict[str, Any], words: Sequence[str]) -> None:
    spots = list(_spots(holder))
    if not spots:
        return
    there, key = random.choice(spots)
    match random.randrange(7):
        case 0 if there is not holder:
            del there[key]
        case 1 if isinstance(there[key], dict):
            there[key][random.choice([*words, *TEXTS])] = _value(random, words)
        case 1 if isinstance(there[key], list):
            there[key].append(_value(random, words))
        case 2 if isinstance(there, list):
            there.append(copy.deepcopy(there[key]))
        case 3:
            other, name = random.choice(spots)
            there[key] = copy.deepcopy(other[name])
        case 4 if isinstance(there, dict) and there is not holder:
            renamed = random.choice([*words, *TEXTS, key.upper(), key.lower()])
            there[renamed] = there.pop(key)
        case _:
            there[key] = _value(random, words)


def _value(random: Random, words: Sequence[str]) -> Any:
    return random.choice(
        (
            lambda: random.choice(NUMBERS),
            lambda: random.choice(TEXTS),
            lambda: random.choice([*words, ""]),
            lambda: random.choice((None, True, False, 1.5, 1e400, -0.0)),
            lambda: random.choice(([], {}, [None], [[]], [{}], {"": None}, ["x"], [0], {"x": {}})),
        )
    )()


def _spots(value: Any) -> Any:
    """Yield every (container, key) of a document, the outermost first."""
    todo = [value]
    while todo:
        here = todo.pop()
        if isinstance(here, dict | list):
            for key in here if isinstance(here, dict) else range(len(here)):
                yield here, key
                todo.append(here[key])
