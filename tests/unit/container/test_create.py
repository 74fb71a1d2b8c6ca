"""What create reports of an init that died without a message."""

from __future__ import annotations

import pytest

from ocirun.container.create import Creation
from ocirun.errors import InitDied, SetupError


class Counted:
    """A cgroup in which this many processes were killed for want of memory."""

    def __init__(self, kills: int) -> None:
        self.oom_kills = lambda: kills


@pytest.mark.parametrize(
    ("kills", "words"),
    [(0, "died at procGate"), (1, "container init was OOM-killed (memory limit too low?)")],
)
def test_the_cgroup_tells_why_init_died(
    kills: int, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(_: Creation) -> None:
        raise InitDied("container init died at procGate")

    creation = Creation.__new__(Creation)
    creation.cgroup = Counted(kills)  # type: ignore[assignment]  # all that is asked of it
    for step in ("claim_id", "_order_init", "claim_cgroup"):
        monkeypatch.setattr(Creation, step, lambda _: None)
    monkeypatch.setattr(Creation, "bring_to_gate", die)
    with pytest.raises(SetupError) as caught:
        creation.bring_in()
    assert words in str(caught.value)
