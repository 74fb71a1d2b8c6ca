"""Which configuration file CRIU is told to read, and whose annotations may choose it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ocirun.criu.settings import FOLDER, NAMES, config_file
from ocirun.errors import SetupError


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in for /etc/criu; it belongs to us."""
    folder = tmp_path / "criu"
    folder.mkdir(mode=0o755)
    monkeypatch.setattr("ocirun.criu.settings.FOLDER", str(folder))
    return folder


def chosen(path: Path | str) -> str:
    return config_file({"org.criu.config": str(path)})


def test_the_annotation_then_ocirun_then_runc_configures_criu(folder: Path) -> None:
    assert (FOLDER, NAMES) == ("/etc/criu", ("ocirun.conf", "runc.conf"))
    own, first, second = folder / "own.conf", folder / "ocirun.conf", folder / "runc.conf"
    assert config_file({}) == ""
    second.touch(0o644)
    assert config_file({}) == str(second)
    first.touch(0o644)
    assert config_file({}) == str(first)
    own.touch(0o644)
    assert chosen(own) == str(own)
    assert chosen("") == ""


@pytest.mark.parametrize(
    "form",
    ["{0}/../file", "{0}/../criu/own.conf", "{0}//own.conf", "own.conf", "{0}/.", "{0}/", "/{0}/a"],
)
def test_a_file_elsewhere_is_refused(folder: Path, form: str) -> None:
    for file in (folder / "own.conf", folder.parent / "file"):
        file.touch(0o644)
    with pytest.raises(SetupError, match=r'^annotation org\.criu\.config: ".*" is not a file in '):
        chosen(form.format(folder))


def test_only_a_regular_file_of_the_folder_is_chosen(folder: Path) -> None:
    outside = folder.parent / "file"
    outside.touch(0o644)
    (folder / "link").symlink_to(outside)
    os.mkfifo(folder / "fifo", 0o644)
    (folder / "below").mkdir()
    for name in ("link", "fifo", "below"):
        with pytest.raises(SetupError, match=f'/{name}" cannot be used: not a regular file$'):
            chosen(folder / name)
    with pytest.raises(SetupError, match=r'/none" cannot be used: No such file or directory$'):
        chosen(folder / "none")


def test_what_others_could_have_written_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = folder / "own.conf"
    file.touch()
    for mode in (0o664, 0o646):
        file.chmod(mode)
        with pytest.raises(SetupError, match=rf"{file} may be written to by others .*{mode:#o}\)$"):
            chosen(file)
    file.chmod(0o644)
    folder.chmod(0o777)
    with pytest.raises(SetupError, match=f"is refused: {folder} may be written to by others"):
        chosen(file)
    folder.chmod(0o755)
    uid = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: uid + 1)
    with pytest.raises(SetupError, match=rf"is refused: .*owner {uid}, mode 0o755\)$"):
        chosen(file)


def test_the_folder_is_no_link(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link = folder.parent / "link"
    link.symlink_to(folder)
    (folder / "own.conf").touch(0o644)
    monkeypatch.setattr("ocirun.criu.settings.FOLDER", str(link))
    with pytest.raises(SetupError, match=r"cannot be used: Not a directory$"):
        chosen(link / "own.conf")


def test_no_descriptor_is_left(folder: Path) -> None:
    (folder / "own.conf").touch(0o644)
    before = os.listdir("/proc/self/fd")
    chosen(folder / "own.conf")
    for name in ("none", "."):
        with pytest.raises(SetupError):
            chosen(folder / name)
    assert os.listdir("/proc/self/fd") == before
