"""What the calls of a recorded command record, and when."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ocirun.process.channel import Channel
from ocirun.trace.wrapping import _wrap_messages

if TYPE_CHECKING:
    from collections.abc import Callable


class Recorded(list[tuple[Any, ...]]):
    """A recorder that keeps the records as they are."""

    def record(self, *fields: object) -> None:
        self.append(fields)


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], Recorded]:
    """Return a function that has messages recorded, which `send` is to send."""

    def wrap(send: Any) -> Recorded:  # noqa: ANN401
        recorder: Any = Recorded()
        monkeypatch.setattr(Channel, "send", send)
        monkeypatch.setattr(Channel, "receive", Channel.receive)
        _wrap_messages(recorder)
        return recorder

    return wrap


def test_a_message_is_recorded_before_the_other_end_has_it(
    recorded: Callable[[Any], Recorded],
) -> None:
    at_sending: list[list[tuple[Any, ...]]] = []
    records = recorded(lambda *_: at_sending.append([*records]))
    Channel.send(object.__new__(Channel), "procGate")
    assert at_sending == [records]
    assert [record[:3] for record in records] == [("m", "send", "procGate")]


def test_a_message_that_cannot_be_sent_is_recorded_with_its_error(
    recorded: Callable[[Any], Recorded],
) -> None:
    def refuse(*_: object) -> None:
        raise BrokenPipeError("nobody reads")

    records = recorded(refuse)
    with pytest.raises(BrokenPipeError):
        Channel.send(object.__new__(Channel), "procGate")
    assert [record[-1] for record in records] == ["", "nobody reads"]
