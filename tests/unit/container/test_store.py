"""The root directory, where it refuses."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from harness.records import new_folder

from ocirun.container.store import Store
from ocirun.errors import OcirunError


@pytest.mark.parametrize("number", [28, 30])  # ENOSPC, EROFS
def test_the_kernels_words_are_in_lower_case(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """As in every other sentence: callers look for them in the text."""
    store = Store(os.fspath(tmp_path))

    def refuse(path: str, mode: int, *, dir_fd: int) -> None:
        raise OSError(number, os.strerror(number), path, mode, dir_fd)

    monkeypatch.setattr(os, "mkdir", refuse)
    words = os.strerror(number)
    with pytest.raises(OcirunError, match=f"web: {words[:1].lower()}{words[1:]}$"):
        store.claim("web")


def test_a_folder_that_a_container_has_filled_is_removed(tmp_path: Path) -> None:
    """Deeper than any path and any recursion, and nothing goes that a link leads to."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("")
    folder = new_folder(tmp_path / "root", "web")
    notify = tmp_path / "root/web/notify"
    notify.mkdir()
    (notify / "link").symlink_to(outside)
    fd = os.open(notify, os.O_RDONLY)
    for level in range(1500):
        os.close(os.open(f"file{level}", os.O_CREAT, dir_fd=fd))
        os.mkdir("d" * 200, dir_fd=fd)
        inner = os.open("d" * 200, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = inner
    os.close(fd)
    try:
        folder.remove()
        assert not (tmp_path / "root/web").exists()
    finally:  # pytest, which would, cannot
        subprocess.run(["rm", "-rf", tmp_path / "root"], check=True)
    assert (outside / "kept").exists()
