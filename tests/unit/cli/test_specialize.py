"""The code that is run before a snapshot has no effect, and makes Python adapt its bytecode."""

from __future__ import annotations

import dis
import os

import pytest

from ocirun.cli.specialize import specialize
from ocirun.process import channel, plan


def test_it_adapts_bytecode_and_leaves_no_descriptor() -> None:
    before = sorted(os.listdir("/proc/self/fd"))
    specialize()
    assert sorted(os.listdir("/proc/self/fd")) == before
    for function in (plan.plan_create, channel.Channel.send):
        used = {one.opname for one in dis.get_instructions(function, adaptive=True)}
        assert used - set(dis.opmap)


def test_a_host_that_refuses_does_not_end_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> int:
        raise PermissionError

    monkeypatch.setattr(os, "open", refuse)
    monkeypatch.setattr(channel, "channel_pair", refuse)
    specialize()
