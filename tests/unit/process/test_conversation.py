"""What the parent makes of answers that no init of ours gives."""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import Any

import pytest

from ocirun.errors import ProtocolError
from ocirun.process import rlimits, spawn
from ocirun.process.channel import Channel, channel_pair
from ocirun.process.conversation import Conversation

CONFIG: Any = {
    "process": {
        "rlimits": [
            {"type": "RLIMIT_NOFILE", "soft": 1, "hard": 5000},
            {"type": "RLIMIT_CORE", "soft": 0, "hard": 0},
        ]
    }
}


@pytest.fixture
def talk() -> Generator[tuple[Conversation, Channel]]:
    request: Any = None
    ours = Conversation(CONFIG, request, None)
    yield ours, ours._their_channel
    ours.abandon()


def nobody(_: int) -> None:
    raise AssertionError("nothing was to be taken to an agent")


@pytest.mark.parametrize(
    "body", [None, 7, "x", {}, [7, 5000], [[7, 5001]], [["7", 5000]], [[7, 5000, 1]], [[[]]]]
)
def test_no_limit_is_raised_that_the_configuration_does_not_name(
    talk: tuple[Conversation, Channel], body: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    raised: list[tuple[int, int]] = []
    monkeypatch.setattr(rlimits, "raise_hard_limits", lambda _, limits: raised.extend(limits))
    ours, theirs = talk
    theirs.send("procLimits", body)
    theirs.send("procLimits", [[7, 5000], [9, 1]])
    theirs.send("procGate")
    ours.wait_for_gate(nobody)
    assert raised == [(7, 5000)]


@pytest.mark.parametrize("body", [None, "3", -1, 1 << 31, 1 << 70, [3], {}, 1.5])
def test_what_is_no_descriptor_is_not_fetched(
    talk: tuple[Conversation, Channel], body: object
) -> None:
    ours, theirs = talk
    theirs.send("procSeccomp", body)
    with pytest.raises(ProtocolError, match="procSeccomp came without the number of a descriptor"):
        ours.wait_for_gate(nobody)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_a_stage_that_sends_no_pidfd_leaves_no_descriptor(
    count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spawn, "reap", lambda _: None)
    ours, theirs = channel_pair()
    sent = [os.memfd_create(str(number)) for number in range(count)]
    theirs.send("procCloned", False, sent)
    before = os.listdir("/proc/self/fd")
    with pytest.raises(ProtocolError, match="procCloned came with "):
        spawn.receive_cloned(ours, 1)
    assert os.listdir("/proc/self/fd") == before
    for fd in sent:
        os.close(fd)
    ours.close()
    theirs.close()
