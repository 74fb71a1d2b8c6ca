"""Frames between a machine's monitor and its guest, and the windows of their streams."""

from __future__ import annotations

import os
import re
import select
import socket
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocirun.engines.vm import frames
from ocirun.engines.vm.control import Connection
from ocirun.engines.vm.frames import BadFrame, Reader
from ocirun.engines.vm.monitor import answer
from ocirun.engines.vm.session import Session
from ocirun.errors import SetupError

GUEST = Path(__file__).resolve().parents[2] / "ocirun/engines/vm/guest/guest.h"


@given(st.lists(st.tuples(st.integers(0, 0xFFFF), st.binary(max_size=99))), st.integers(1, 40))
def test_frames_come_out_as_they_went_in_however_they_are_cut(
    sent: list[tuple[int, bytes]], size: int
) -> None:
    stream = b"".join(frames.frame(frames.STDOUT, number, data) for number, data in sent)
    reader = Reader(frames.FROM_GUEST)
    pieces = [stream[at : at + size] for at in range(0, len(stream), size)]
    found = [frame for piece in pieces for frame in reader.feed(piece)]
    assert found == [(frames.STDOUT, number, data) for number, data in sent]


@pytest.mark.parametrize(
    "data",
    [
        frames.frame(b"?"),
        frames.frame(frames.READY, 0, b"x"),
        frames.frame(frames.EXIT, 0, b"12345"),
        b"O\x01\0\0\0\0\0\0",
        b"O\0\0\0\xff\xff\xff\xff",
        frames.frame(frames.STDOUT, 0, bytes(frames.MAX_OUTPUT + 1)),
    ],
)
def test_what_is_no_frame_of_a_guest_is_refused(data: bytes) -> None:
    with pytest.raises(BadFrame, match="no frame begins with"):
        list(Reader(frames.FROM_GUEST).feed(data))


def test_a_string_with_a_nul_and_too_long_a_frame_are_not_sent() -> None:
    with pytest.raises(BadFrame, match="has a NUL"):
        frames.text("a\0b")
    with pytest.raises(BadFrame, match="more than a frame may have"):
        frames.frame(frames.INPUT, 0, bytes(frames.MAX_FRAME + 1))


def test_host_and_guest_have_the_same_letters_and_limits() -> None:
    text = GUEST.read_text()
    letters = dict(re.findall(r"#define F_(\w+) '(.)'", text))
    assert letters == {
        name: str(getattr(frames, name), "ascii") for name in letters if hasattr(frames, name)
    }
    assert len(letters) > 20
    numbers = dict(re.findall(r"#define (MAX_FRAME|MAX_OUTPUT|WINDOW) \((\d+U << \d+)\)", text))
    for name, value in numbers.items():
        base, shift = value.replace("U", "").split(" << ")
        assert getattr(frames, name) == int(base) << int(shift), name


class Pipes:
    """A session whose stdio is pipes; `ours` are the other ends."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        stdin, to_stdin = os.pipe()
        from_stdout, stdout = os.pipe()
        self.ours = (to_stdin, from_stdout)
        self.session = Session(3, [stdin, stdout, os.dup(stdout)], self.sent.append)

    def serve(self) -> None:
        poll = select.poll()
        for fd, events in self.session.wanted():
            poll.register(fd, events)
        for fd, events in poll.poll(0):
            self.session.ready(fd, events)

    def close(self) -> None:
        self.session.close()
        for fd in self.ours:
            os.close(fd)


@pytest.fixture
def pipes() -> Pipes:
    return Pipes()


def test_output_is_answered_when_it_is_written_and_no_sooner(pipes: Pipes) -> None:
    pipes.session.take(frames.STARTED, b"")
    pipes.session.take(frames.STDOUT, b"hello")
    assert pipes.sent == []
    pipes.serve()
    answer = frames.frame(frames.ACK, 3, frames.u32(1) + frames.u32(5))
    assert answer in pipes.sent
    assert os.read(pipes.ours[1], 99) == b"hello"
    pipes.session.take(frames.STDOUT, b"last")
    pipes.session.take(frames.EXIT, frames.u32(7))
    assert not pipes.session.is_over()
    pipes.serve()
    assert (pipes.session.is_over(), pipes.session.status) == (True, 7)
    pipes.close()


def test_a_guest_that_sends_more_than_its_window_is_refused(pipes: Pipes) -> None:
    for _ in range(frames.WINDOW // frames.MAX_OUTPUT):
        pipes.session.take(frames.STDOUT, bytes(frames.MAX_OUTPUT))
    with pytest.raises(BadFrame, match="more output than it may"):
        pipes.session.take(frames.STDOUT, b"x")
    with pytest.raises(BadFrame, match="did not get"):
        pipes.session.take(frames.INPUT_ACK, frames.u32(1))
    pipes.close()


def test_input_stops_at_its_window_and_its_end_is_sent(pipes: Pipes) -> None:
    pipes.session.take(frames.STARTED, b"")
    sent = 0
    while sent < frames.WINDOW:
        sent += os.write(pipes.ours[0], bytes(32 << 10))
        pipes.serve()
    assert [*pipes.session.wanted()] == []
    pipes.session.take(frames.INPUT_ACK, frames.u32(1000))
    os.write(pipes.ours[0], b"more")
    pipes.serve()
    assert pipes.sent[-1] == frames.frame(frames.INPUT, 3, b"more")
    os.close(pipes.ours[0])
    pipes.serve()
    assert pipes.sent[-1] == frames.frame(frames.INPUT, 3)
    pipes.ours = pipes.ours[1:]  # type: ignore[assignment]
    pipes.close()


def test_a_process_may_not_start_or_end_twice(pipes: Pipes) -> None:
    pipes.session.take(frames.STARTED, b"")
    pipes.session.take(frames.EXIT, frames.u32(1))
    for kind, payload in ((frames.STARTED, b""), (frames.EXIT, frames.u32(1))):
        with pytest.raises(BadFrame, match="may not come now"):
            pipes.session.take(kind, payload)
    pipes.close()


class Hasty(socket.socket):
    """A socket whose peer leaves as soon as it has a message."""

    peer: socket.socket

    def sendmsg(self, *words: Any) -> int:  # noqa: ANN401
        sent = super().sendmsg(*words)
        self.peer.close()
        return sent


def test_a_peer_that_leaves_once_it_has_the_frame_is_no_failure() -> None:
    ours, theirs = socket.socketpair()
    hasty = Hasty(fileno=ours.detach())
    hasty.peer = theirs
    connection = Connection(hasty, frames.FROM_CALLER)
    connection.send(frames.frame(frames.STARTED))
    with pytest.raises(SetupError, match="talking to the monitor of the machine: broken pipe"):
        connection.send(frames.frame(frames.STARTED))
    assert not answer(connection, frames.frame(frames.STARTED))
    connection.close()
