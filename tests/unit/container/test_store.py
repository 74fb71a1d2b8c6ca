"""The root directory, where it refuses."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ocirun.container.store import Store
from ocirun.errors import OcirunError


@pytest.mark.parametrize("number", [28, 30])  # ENOSPC, EROFS
def test_the_kernels_words_are_in_lower_case(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """As in every other sentence: callers look for them in the text."""
    store = Store(os.fspath(tmp_path))

    def refuse(path: str, mode: int) -> None:
        raise OSError(number, os.strerror(number), path, mode)

    monkeypatch.setattr(os, "mkdir", refuse)
    words = os.strerror(number)
    with pytest.raises(OcirunError, match=f"web: {words[:1].lower()}{words[1:]}$"):
        store.claim("web")
