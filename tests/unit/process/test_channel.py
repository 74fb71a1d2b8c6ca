"""Frames and descriptors between two ends of a channel, one of which may be a stranger's.

Whatever is written into the other end, `receive` ends in a message or in one of its errors, and
leaves no descriptor behind.
"""

from __future__ import annotations

import os
import socket
import struct
import threading
from collections.abc import Generator

import pytest

from ocirun.errors import InitError, OcirunError, ProtocolError, SetupError
from ocirun.process import channel
from ocirun.process.channel import Channel, PeerGone, channel_pair


@pytest.fixture
def pair() -> Generator[tuple[Channel, Channel]]:
    ours, theirs = channel_pair()
    yield ours, theirs
    ours.close()
    theirs.close()


@pytest.fixture
def stranger() -> Generator[tuple[Channel, socket.socket]]:
    """A channel whose other end is a plain socket."""
    ours, theirs = socket.socketpair()
    end = Channel(ours.detach())
    yield end, theirs
    end.close()
    theirs.close()


CARRIER = "sendConfig"  # a message that has descriptors


def frame(data: bytes, fds: int = 0, length: int | None = None) -> bytes:
    return struct.pack("<II", len(data) if length is None else length, fds) + data


def pipes(count: int) -> list[int]:
    return [os.memfd_create(str(number)) for number in range(count)]


def close(fds: list[int]) -> None:
    for fd in fds:
        os.close(fd)


def test_a_message_arrives_with_its_body(pair: tuple[Channel, Channel]) -> None:
    ours, theirs = pair
    body = {"a": [1, None, "ü", {"b": True}]}
    theirs.send("procReady", body)
    assert ours.receive("procReady") == ("procReady", body, [])


def test_a_message_without_body_has_none(pair: tuple[Channel, Channel]) -> None:
    ours, theirs = pair
    theirs.send("procReady")
    assert ours.receive("procHooks", "procReady") == ("procReady", None, [])


def test_messages_stay_apart_and_in_order(pair: tuple[Channel, Channel]) -> None:
    ours, theirs = pair
    for number in range(5):
        theirs.send("m", number)
    assert [ours.receive("m")[1] for _ in range(5)] == [0, 1, 2, 3, 4]


def test_paths_that_are_not_utf8_arrive_as_they_were(pair: tuple[Channel, Channel]) -> None:
    ours, theirs = pair
    path = os.fsdecode(b"/\xff")
    theirs.send("m", path)
    assert ours.receive("m")[1] == path


@pytest.mark.parametrize("count", [1, 2, 249, 250, 251, 500, 501])
def test_descriptors_arrive_in_order_and_close_on_exec(
    pair: tuple[Channel, Channel], count: int
) -> None:
    """Also more than one message of the kernel's can carry (253)."""
    ours, theirs = pair
    sent = pipes(count)
    ours.send(CARRIER, "body", sent)
    name, body, received = theirs.receive(CARRIER)
    assert (name, body) == (CARRIER, "body")
    assert [os.fstat(fd).st_ino for fd in received] == [os.fstat(fd).st_ino for fd in sent]
    assert not any(os.get_inheritable(fd) for fd in received)
    close(sent + received)


def test_the_senders_descriptors_stay_its_own(pair: tuple[Channel, Channel]) -> None:
    ours, theirs = pair
    sent = pipes(2)
    theirs.send(CARRIER, None, sent)
    for fd in sent:
        os.fstat(fd)
    close(sent + ours.receive(CARRIER)[2])


def test_a_plain_channel_reads_and_writes_without_descriptors(
    pair: tuple[Channel, Channel],
) -> None:
    ours, theirs = pair
    theirs.use_plain_io()
    theirs.send("m", [1])
    assert ours.receive("m") == ("m", [1], [])
    ours.send("n", [2])
    assert theirs.receive("n") == ("n", [2], [])


def test_both_ends_are_close_on_exec(pair: tuple[Channel, Channel]) -> None:
    assert not any(os.get_inheritable(end.fileno()) for end in pair)


def test_moving_to_another_descriptor_closes_the_old_one(pair: tuple[Channel, Channel]) -> None:
    ours, theirs = pair
    old = theirs.fileno()
    new = os.dup(old)
    theirs.move(new)
    assert theirs.fileno() == new
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(old)
    theirs.send("m")
    assert ours.receive("m")[0] == "m"


def test_the_first_end_tells_of_both_directions() -> None:
    told: list[str] = []
    ours, theirs = channel_pair(told.append)
    ours.send("procRun")
    theirs.receive("procRun")
    theirs.send("procReady")
    ours.receive("procReady")
    assert told == ["procRun →", "← procReady"]
    ours.close()
    theirs.close()


# --- errors ---------------------------------------------------------------------------------------


def test_an_error_of_init_is_raised_with_its_number_and_notes(
    pair: tuple[Channel, Channel],
) -> None:
    ours, theirs = pair
    theirs.send("procError", {"message": "mounting: no", "errno": 13, "notes": ["a", "b"]})
    with pytest.raises(InitError) as caught:
        ours.receive("procReady")
    error = caught.value
    assert str(error) == (
        "unable to start container process: error during container init: mounting: no"
    )
    assert error.errno == 13
    assert error.__notes__ == ["a", "b"]


def test_a_program_that_is_not_found_has_runcs_words_alone(pair: tuple[Channel, Channel]) -> None:
    ours, theirs = pair
    theirs.send("procError", {"message": 'exec: "x": not found', "errno": 2})
    with pytest.raises(
        InitError, match=r'^unable to start container process: exec: "x": not found'
    ):
        ours.receive("procReady")


@pytest.mark.parametrize(
    "body", [None, 7, [], "x", {}, {"errno": "13", "notes": 5}, {"message": {"a": 1}}]
)
def test_a_malformed_error_is_an_error_all_the_same(
    pair: tuple[Channel, Channel], body: object
) -> None:
    ours, theirs = pair
    theirs.send("procError", body)
    with pytest.raises(InitError) as caught:
        ours.receive("procReady")
    assert caught.value.errno == 0


def test_another_message_than_expected_names_both(pair: tuple[Channel, Channel]) -> None:
    ours, theirs = pair
    theirs.send("procGate")
    with pytest.raises(ProtocolError, match="waiting for procReady or procHooks: 'procGate' came"):
        ours.receive("procReady", "procHooks")


@pytest.mark.parametrize("value", ["{}", "[]", '["m"]', '["m",1,2]', "[1,2]", '"m"', "null"])
def test_what_is_no_message_is_a_protocol_error(
    stranger: tuple[Channel, socket.socket], value: str
) -> None:
    end, other = stranger
    other.sendall(frame(value.encode()))
    with pytest.raises(ProtocolError, match="waiting for m: not a message"):
        end.receive("m")


@pytest.mark.parametrize("data", [b"", b"{", b"\xff", b"[1]]"])
def test_what_is_no_json_is_an_error_of_ours(
    stranger: tuple[Channel, socket.socket], data: bytes
) -> None:
    end, other = stranger
    other.sendall(frame(data))
    with pytest.raises(OcirunError, match=r"^message: "):
        end.receive("m")


def test_a_longer_frame_than_any_answer_is_refused_before_it_is_read(
    stranger: tuple[Channel, socket.socket],
) -> None:
    """A frame of 6 MiB made the parent use 203 MB."""
    end, other = stranger
    other.sendall(frame(b"", length=channel.MAX_ANSWER_BYTES + 1))
    with pytest.raises(ProtocolError, match=f"{channel.MAX_ANSWER_BYTES + 1} bytes"):
        end.receive("m")


def test_warnings_are_dropped_where_there_are_too_many(
    stranger: tuple[Channel, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All are kept until the verb has ended: a stranger could fill the parent's memory."""
    end, other = stranger
    other.settimeout(10)
    warnings: list[str] = []
    monkeypatch.setattr(channel, "warn", warnings.append)

    def talk() -> None:
        for _ in range(channel.MAX_WARNINGS + 500):
            other.sendall(frame(b'["procWarning","careful"]'))
        other.sendall(frame(b'["procReady",1]'))

    sender = threading.Thread(target=talk)
    sender.start()
    assert end.receive("procReady")[1] == 1
    sender.join()
    assert warnings == ["careful"] * channel.MAX_WARNINGS


def test_a_frame_of_the_longest_length_is_waited_for(
    stranger: tuple[Channel, socket.socket],
) -> None:
    end, other = stranger
    other.sendall(frame(b"[", length=channel.MAX_ANSWER_BYTES))
    other.close()
    with pytest.raises(PeerGone):
        end.receive("m")


def test_more_descriptors_than_any_answer_has_are_refused_and_closed(
    stranger: tuple[Channel, socket.socket],
) -> None:
    end, other = stranger
    count = channel.MAX_ANSWER_FDS + 1
    sent = pipes(count)
    before = os.listdir("/proc/self/fd")
    socket.send_fds(other, [frame(b'["m",1]', fds=count)], sent)
    with pytest.raises(ProtocolError, match=f"and {count} descriptors"):
        end.receive("m")
    assert os.listdir("/proc/self/fd") == before
    close(sent)


def test_as_many_descriptors_as_an_answer_may_have_arrive(
    stranger: tuple[Channel, socket.socket],
) -> None:
    end, other = stranger
    sent = pipes(channel.MAX_ANSWER_FDS)
    socket.send_fds(other, [frame(b'["sendConfig",1]', fds=len(sent))], sent)
    received = end.receive(CARRIER)[2]
    assert len(received) == len(sent)
    close(sent + received)


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b'["procReady",1]', None),  # expected, but not with descriptors
        (b'["sendConfig",1]', ProtocolError),  # with descriptors, but not expected
        (b'["procError",{"message":"no"}]', InitError),
        (b'["procWarning","careful"]', PeerGone),
        (b"{}", ProtocolError),
        (b"{", OcirunError),
    ],
)
def test_descriptors_that_nobody_asked_for_are_closed(
    stranger: tuple[Channel, socket.socket], data: bytes, error: type[Exception] | None
) -> None:
    """Up to eight stayed open in a program that uses the library."""
    end, other = stranger
    sent = pipes(channel.MAX_ANSWER_FDS)
    before = os.listdir("/proc/self/fd")
    socket.send_fds(other, [frame(data, fds=len(sent))], sent)
    other.shutdown(socket.SHUT_WR)
    if error:
        with pytest.raises(error):
            end.receive("procReady")
    else:
        assert end.receive("procReady") == ("procReady", 1, [])
    assert os.listdir("/proc/self/fd") == before
    close(sent)


@pytest.mark.parametrize("announced", [0, 1, 249])
def test_more_descriptors_than_announced_are_closed(
    stranger: tuple[Channel, socket.socket], announced: int
) -> None:
    end, other = stranger
    sent = pipes(250)
    before = os.listdir("/proc/self/fd")
    socket.send_fds(other, [frame(b'["sendConfig",1]', fds=announced)], sent)
    with pytest.raises(ProtocolError, match=f"250 descriptors and announced {announced}"):
        end.receive(CARRIER)
    assert os.listdir("/proc/self/fd") == before
    close(sent)


@pytest.mark.parametrize("whole", [0, 1])
def test_descriptors_with_an_unfinished_header_are_closed(
    stranger: tuple[Channel, socket.socket], whole: int
) -> None:
    """`whole` headers come before the one that ends early."""
    end, other = stranger
    sent = pipes(3)
    before = os.listdir("/proc/self/fd")
    other.sendall(frame(b'["procWarning","w"]') * whole)
    socket.send_fds(other, [b"\0\0"], sent)
    other.shutdown(socket.SHUT_WR)
    with pytest.raises(PeerGone):
        end.receive(CARRIER)
    assert os.listdir("/proc/self/fd") == before
    close(sent)


def test_the_parent_is_taken_at_its_word(pair: tuple[Channel, Channel]) -> None:
    """It sends the configuration, which may be large."""
    ours, theirs = pair
    body = "x" * (2 * channel.MAX_ANSWER_BYTES)
    sender = threading.Thread(target=ours.send, args=("m", body))
    sender.start()
    assert theirs.receive("m")[1] == body
    sender.join()


@pytest.mark.parametrize("size", [0, 1, 7, 8, 9])
def test_an_end_in_the_middle_of_a_frame_means_that_the_peer_is_gone(
    stranger: tuple[Channel, socket.socket], size: int
) -> None:
    end, other = stranger
    other.sendall(frame(b'["m",1]')[:size])
    other.close()
    with pytest.raises(PeerGone):
        end.receive("m")


@pytest.mark.parametrize("plain", [False, True])
def test_sending_to_a_peer_that_is_gone_says_so(
    stranger: tuple[Channel, socket.socket], plain: bool
) -> None:
    end, other = stranger
    other.close()
    if plain:
        end.use_plain_io()
    with pytest.raises(PeerGone):
        end.send("m")


def test_descriptors_that_were_announced_and_do_not_come_are_an_error(
    stranger: tuple[Channel, socket.socket],
) -> None:
    end, other = stranger
    other.sendall(frame(b'["m",1]', fds=3))
    with pytest.raises(ProtocolError, match="0 of 3 descriptors"):
        end.receive("m")


def test_a_descriptor_that_cannot_be_sent_names_the_message(pair: tuple[Channel, Channel]) -> None:
    ours, theirs = pair
    [fd] = pipes(1)
    os.close(fd)
    with pytest.raises(SetupError, match=r"^sending m: bad file descriptor$") as caught:
        theirs.send("m", None, [fd])
    assert caught.value.errno == 9
    theirs.send("n")  # and nothing of it was said
    assert ours.receive("n")[0] == "n"


def test_a_closed_channel_is_an_error_that_names_what_was_waited_for(
    pair: tuple[Channel, Channel],
) -> None:
    ours, _ = pair
    ours.close()
    with pytest.raises(SetupError, match=r"^waiting for a or b: bad file descriptor$") as caught:
        ours.receive("a", "b")
    assert caught.value.errno == 9
