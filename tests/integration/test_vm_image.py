"""A machine whose root is a disk image. Source: docs/vm.md#images."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from harness.bars import FULL
from harness.box import Box, Container
from harness.machines import by_vm
from harness.needs import needs

pytestmark = needs("ours", "root", "machines")

SCRIPT = "cat /marker; echo written >/new && cat /new; ls -a /dev | wc -l >&2; exit 5"


@pytest.fixture
def image(box: Box, tmp_path: Path) -> Path:
    """Make a file system of a bundle's root, with a file that the root itself has not."""
    path, rootfs = tmp_path / "image", box.bundle().rootfs
    (rootfs / "marker").write_text("of the image\n")
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-d", rootfs, path, "32m"], check=True)
    (rootfs / "marker").unlink()
    return path


def of_image(box: Box, image: Path, kind: str = "raw") -> Container:
    container = box.container(None, "sh", "-c", SCRIPT)
    container.bundle.config["vm"] = {"image": {"path": str(image), "format": kind}}
    return container


def content(image: Path, name: str) -> str:
    words = ["debugfs", "-R", f"cat {name}", image]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout


def test_the_root_is_the_image_and_keeps_what_is_written(box: Box, image: Path) -> None:
    call = by_vm(of_image(box, image), "run")
    assert (call.status, call.stdout) == (5, "of the image\nwritten\n")
    assert content(image, "/new") == "written\n"


@pytest.mark.skipif(not FULL, reason="with OCIRUN_BARS=full: it boots a machine")
def test_a_readonly_image_stays_as_it_is(box: Box, image: Path) -> None:
    before = image.read_bytes()
    container = of_image(box, image)
    container.bundle.config["root"]["readonly"] = True
    call = by_vm(container, "run")
    assert (call.status, call.stdout) == (5, "of the image\n")
    assert "Read-only file system" in call.stderr
    assert image.read_bytes() == before


def test_an_image_without_a_file_system_is_one_sentence(box: Box, tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(bytes(1 << 20))
    container = of_image(box, tmp_path / "empty")
    call = by_vm(container, "create")
    call.failed("mounting the image: it has no file system of this kernel")
    assert len(call.log_lines) == 1
    container.runtime.call("state", container.id).failed("does not exist")


def test_an_image_that_cannot_be_opened_is_one_sentence(box: Box, tmp_path: Path) -> None:
    """Before anything boots: no file, no regular one, and one of another format."""
    (tmp_path / "raw").write_bytes(bytes(1 << 20))
    wrong = {
        (tmp_path / "nothing", "raw"): f"the image {tmp_path}/nothing does not exist",
        (tmp_path, "raw"): f"the image {tmp_path} does not exist",
        (tmp_path / "raw", "qcow2"): f"opening the image {tmp_path}/raw as qcow2: ",
    }
    for (path, kind), sentence in wrong.items():
        call = by_vm(of_image(box, path, kind), "create").failed(sentence)
        assert len(call.log_lines) == 1
