"""Frames: what the monitor and the guest send each other, and callers of the monitor as well.

A frame is its type (a byte), a zero, the number of the process (2 bytes), the length of its payload
(4 bytes) and the payload. Numbers are big-endian. guest/guest.h has the same letters and limits.

Security: neither side trusts the other. The guest's frames are short, and a malformed frame ends
the machine.

Source: docs/vm.md#frames.
"""

from __future__ import annotations

import os
import time

from ocirun.errors import OcirunError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Final

HEADER_BYTES: Final = 8
MAX_FRAME: Final = 1 << 20
MAX_OUTPUT: Final = 32 << 10
WINDOW: Final = 128 << 10
MAX_PROCESSES: Final = 64
SEED_BYTES: Final = 64
SECOND_NS: Final = 1_000_000_000

# To the guest.
SEED: Final = b"E"
ROOT: Final = b"R"
BIND: Final = b"B"
MOUNT: Final = b"M"
DEVICES: Final = b"D"
SYSCTL: Final = b"S"
HOSTNAME: Final = b"H"
DOMAINNAME: Final = b"N"
MASK: Final = b"K"
READONLY: Final = b"O"
LINK: Final = b"L"
ADDRESS: Final = b"F"
ROUTE: Final = b"T"
PIDS: Final = b"C"
IMAGE: Final = b"J"
PROCESS: Final = b"P"
GO: Final = b"G"
INPUT: Final = b"I"
SIGNAL: Final = b"Z"
SIZE: Final = b"W"
ACK: Final = b"A"
# From the guest.
HELLO: Final = b"H"
SEEDED: Final = b"S"
READY: Final = b"R"
STARTED: Final = b"T"
FAILED: Final = b"X"
STDOUT: Final = b"O"
STDERR: Final = b"Q"
INPUT_ACK: Final = b"A"
EXIT: Final = b"V"
# How long the payload of each may be.
FROM_GUEST: Final = {
    HELLO: 16,
    SEEDED: 0,
    READY: 0,
    STARTED: 0,
    FAILED: 1024,
    STDOUT: MAX_OUTPUT,
    STDERR: MAX_OUTPUT,
    INPUT_ACK: 4,
    EXIT: 4,
}
FROM_CALLER: Final = {PROCESS: MAX_FRAME, SIGNAL: 4, SIZE: 8}

Frame = tuple[bytes, int, bytes]  # type, process, payload


class BadFrame(OcirunError):
    """The other side sent a malformed frame, or one that it may not send now."""


def frame(kind: bytes, process: int = 0, payload: bytes = b"") -> bytes:
    """Return a frame as bytes.

    Raises:
        BadFrame: the payload is longer than a frame may be.
    """
    if len(payload) > MAX_FRAME:
        raise BadFrame(f"{len(payload)} bytes are more than a frame may have ({MAX_FRAME})")
    return kind + b"\0" + process.to_bytes(2, "big") + u32(len(payload)) + payload


def u32(number: int) -> bytes:
    """Return a field that is a number of 32 bits."""
    return number.to_bytes(4, "big")


def u64(number: int) -> bytes:
    """Return a field that is a number of 64 bits."""
    return number.to_bytes(8, "big")


def text(value: str) -> bytes:
    """Return a field that is a string: its length, its bytes, a NUL.

    Raises:
        BadFrame: it has a NUL.
    """
    data = value.encode(errors="surrogateescape")
    if b"\0" in data:
        raise BadFrame(f"{value!r} has a NUL")
    return u32(len(data)) + data + b"\0"


def seed() -> bytes:
    """Return a frame with randomness and the time of this host."""
    now = time.time_ns()
    payload = u64(now // SECOND_NS) + u32(now % SECOND_NS) + os.urandom(SEED_BYTES)
    return frame(SEED, payload=payload)


class Reader:
    """Frames out of a stream of bytes; `limits` are the types that may come, with their lengths."""

    __slots__ = ("_data", "_limits")

    def __init__(self, limits: dict[bytes, int]) -> None:
        self._data = bytearray()
        self._limits = limits

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Yield the frames that `data` completes.

        Raises:
            BadFrame: the bytes are not a frame.
        """
        self._data += data
        while len(self._data) >= HEADER_BYTES:
            kind = bytes(self._data[:1])
            length = int.from_bytes(self._data[4:8], "big")
            if self._data[1] or length > self._limits.get(kind, -1):
                raise BadFrame(f"no frame begins with {bytes(self._data[:HEADER_BYTES]).hex()}")
            if len(self._data) < HEADER_BYTES + length:
                return
            process = int.from_bytes(self._data[2:4], "big")
            payload = bytes(self._data[HEADER_BYTES : HEADER_BYTES + length])
            del self._data[: HEADER_BYTES + length]
            yield kind, process, payload


def number(payload: bytes) -> int:
    """Return the number that is the whole of `payload`.

    Raises:
        BadFrame: it has another length.
    """
    if len(payload) != 4:
        raise BadFrame(f"{len(payload)} bytes are no number")
    return int.from_bytes(payload, "big")
