"""What a CNI plugin that cannot be started leaves open: nothing."""

from __future__ import annotations

import os
from errno import EMFILE

import pytest

from ocirun.errors import SetupError
from ocirun.network.cni_plugin import run_plugin


@pytest.mark.parametrize("call", ["pipe2", "posix_spawn"])
def test_a_plugin_that_cannot_be_started_leaves_no_descriptor(
    monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    before = sorted(os.listdir("/proc/self/fd"))

    def refuse(*_: object, **__: object) -> None:
        raise OSError(EMFILE, os.strerror(EMFILE))

    monkeypatch.setattr(os, call, refuse)
    with pytest.raises(
        SetupError, match=r"running CNI plugin bridge, ADD of network .n.: too many"
    ):
        run_plugin("/opt/cni/bin/bridge", {"name": "n"}, {"CNI_COMMAND": "ADD"}, 2)
    assert sorted(os.listdir("/proc/self/fd")) == before
