"""A cgroup that is removed while somebody looks at it: cgroup files without a kernel."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from types import ModuleType

import pytest

from ocirun.cgroups.v1 import freezer as v1_freezer
from ocirun.cgroups.v2 import freezer as v2_freezer


@pytest.mark.parametrize("freezer", [v1_freezer, v2_freezer])
def test_it_is_not_frozen(
    freezer: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`run` in the foreground removes it while `kill` or `state` asks: ENODEV after the open."""
    for name in ("freezer.state", "cgroup.freeze"):
        (tmp_path / name).touch()

    def gone(*_: object) -> bytes:
        raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))

    monkeypatch.setattr(os, "read", gone)
    assert not freezer.is_frozen(str(tmp_path))
    monkeypatch.setattr(os, "write", gone)
    freezer.thaw(str(tmp_path))
