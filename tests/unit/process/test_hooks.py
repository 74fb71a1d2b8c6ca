"""What a hook leaves behind when it cannot be waited for: nothing."""

from __future__ import annotations

import os
from errno import EMFILE
from typing import TYPE_CHECKING

import pytest

from ocirun.errors import HookError
from ocirun.process import hooks

if TYPE_CHECKING:
    from pathlib import Path


def run_sleep(folder: Path) -> None:
    """Run a hook that writes its pid and sleeps."""
    script = f"echo $$ >{folder}/pid; exec sleep 60"
    hooks.run_hooks("prestart", [{"path": "/bin/sh", "args": ["sh", "-c", script]}], {}, {})


def has_ended(folder: Path) -> bool:
    """Return whether the hook is gone, if it has got as far as writing its pid."""
    path = folder / "pid"
    text = path.read_text().strip() if path.exists() else ""
    return not text or not os.path.exists(f"/proc/{text}")


@pytest.mark.parametrize("call", ["memfd_create", "pipe2", "pidfd_open"])
def test_a_hook_that_cannot_be_waited_for_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    before = sorted(os.listdir("/proc/self/fd"))

    def refuse(*_: object) -> None:
        raise OSError(EMFILE, os.strerror(EMFILE))

    monkeypatch.setattr(os, call, refuse)
    with pytest.raises(HookError, match="too many open files"):
        run_sleep(tmp_path)
    assert has_ended(tmp_path)
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)
    assert sorted(os.listdir("/proc/self/fd")) == before


def test_a_hook_does_not_outlive_the_interrupt_of_who_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(hooks, "_drain", interrupt)
    script = f"echo $$ >{tmp_path}/pid; echo; exec sleep 60"
    with pytest.raises(KeyboardInterrupt):
        hooks.run_hooks("prestart", [{"path": "/bin/sh", "args": ["sh", "-c", script]}], {}, {})
    assert has_ended(tmp_path)
