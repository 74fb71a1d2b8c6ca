"""What create says of an init that died without a word."""

from __future__ import annotations

import pytest

from ocirun.container.create import Creation
from ocirun.errors import InitDied


class Counted:
    """A cgroup in which this many processes were killed for want of memory."""

    def __init__(self, kills: int) -> None:
        self.oom_kills = lambda: kills


@pytest.mark.parametrize(
    ("kills", "words"),
    [(0, "died at procGate"), (1, "container init was OOM-killed (memory limit too low?)")],
)
def test_the_cgroup_tells_why_init_died(kills: int, words: str) -> None:
    making = Creation.__new__(Creation)
    making.cgroup = Counted(kills)  # type: ignore[assignment]  # all that is asked of it
    assert words in str(making.cause_of(InitDied("container init died at procGate")))
