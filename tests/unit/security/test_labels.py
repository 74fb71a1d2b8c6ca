"""AppArmor and SELinux against a recorded attr folder: this machine's kernel runs neither.

The folder stands for a private procfs: "self" is a link to our number, as procfs has it. What is
checked is which file gets which bytes, in which order; that a kernel acts on them is not.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Generator
from pathlib import Path

import pytest

from ocirun.errors import SetupError
from ocirun.kernel import procfs
from ocirun.security.apparmor import set_exec_profile
from ocirun.security.selinux import set_exec_label, set_key_label

LABEL = "system_u:system_r:container_t:s0:c1,c2"


class Attributes:
    """A recorded /proc/PID/attr."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "4711" / "attr"
        (self.folder / "apparmor").mkdir(parents=True)
        (folder / "self").symlink_to("4711")
        for name in ("exec", "keycreate", "apparmor/exec"):
            (self.folder / name).touch()
        self.fd = os.open(folder, os.O_PATH | os.O_DIRECTORY)

    def read(self, name: str) -> str:
        return (self.folder / name).read_text()


@pytest.fixture
def attributes(tmp_path: Path) -> Generator[Attributes, None, None]:
    recorded = Attributes(tmp_path)
    yield recorded
    os.close(recorded.fd)


def test_recorded_apparmor_profile_goes_to_its_own_folder(attributes: Attributes) -> None:
    set_exec_profile(attributes.fd, "docker-default")
    assert attributes.read("apparmor/exec") == "exec docker-default"
    assert attributes.read("exec") == ""


def test_recorded_apparmor_profile_goes_to_the_old_file_on_an_old_kernel(
    attributes: Attributes,
) -> None:
    (attributes.folder / "apparmor/exec").unlink()
    set_exec_profile(attributes.fd, "docker-default")
    assert attributes.read("exec") == "exec docker-default"


def test_recorded_apparmor_profile_that_is_not_loaded_is_an_error(
    attributes: Attributes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel says ENOENT to the write too; that must not lead to the old file."""
    tried: list[str] = []

    def refuse(_: int, path: str, value: str) -> None:
        tried.append(f"{path}={value}")
        raise FileNotFoundError(errno.ENOENT, "No such file or directory")

    monkeypatch.setattr("ocirun.security.apparmor.write_own", refuse)
    with pytest.raises(SetupError, match="`/proc/self/attr/exec`: no such file") as caught:
        set_exec_profile(attributes.fd, "nope")
    assert "nope" in str(caught.value)
    assert tried == ["attr/apparmor/exec=exec nope"]


def test_recorded_apparmor_without_any_file_is_an_error(attributes: Attributes) -> None:
    (attributes.folder / "apparmor/exec").unlink()
    (attributes.folder / "exec").unlink()
    with pytest.raises(SetupError, match="no such file or directory"):
        set_exec_profile(attributes.fd, "docker-default")


def test_recorded_selinux_label(attributes: Attributes) -> None:
    set_exec_label(attributes.fd, LABEL)
    assert attributes.read("exec") == LABEL


def test_recorded_selinux_key_label_is_set_and_let_go(
    attributes: Attributes, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes: list[bytes] = []
    real = os.write

    def write(fd: int, data: bytes) -> int:
        writes.append(data)
        return real(fd, data)

    monkeypatch.setattr(procfs.os, "write", write)  # type: ignore[attr-defined]
    set_key_label(attributes.fd, LABEL)
    set_key_label(attributes.fd, "")
    # The empty write is a write: it is how the kernel is told to forget the label.
    assert writes == [LABEL.encode(), b""]


@pytest.mark.parametrize("place", ["attr", "attr/exec", "4711"])
def test_a_link_on_the_way_is_not_followed(attributes: Attributes, place: str) -> None:
    """CVE-2019-16884, CVE-2025-52881: only the file itself will do."""
    top = attributes.folder.parents[1]
    original = top / place if place == "4711" else top / "4711" / place
    original.rename(top / "moved")
    original.symlink_to(top / "moved")
    with pytest.raises(SetupError, match="too many levels of symbolic links"):
        set_exec_label(attributes.fd, LABEL)


def test_a_self_that_leads_out_is_not_followed(attributes: Attributes, tmp_path: Path) -> None:
    (tmp_path / "self").unlink()
    (tmp_path / "self").symlink_to("../../etc")
    with pytest.raises(SetupError, match="cross-device link"):
        set_exec_label(attributes.fd, LABEL)
