"""The commands of docs/images.md lead from an image to a container."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import tarfile
import tempfile
from hashlib import sha256
from pathlib import Path

import pytest
from harness.machine import REPO, find_busybox
from harness.needs import needs
from harness.peers import find_runtime

from deb.bare import Bare

pytestmark = [pytest.mark.deb, needs("root", "tool skopeo", "tool umoci", "tool debootstrap")]

PAGE = (REPO / "docs" / "images.md").read_text()
RECIPES = dict(re.findall(r"<!-- recipe: (\S+) -->\n```\n(.+?)```", PAGE, re.DOTALL))


def add(archive: tarfile.TarFile, name: str, content: bytes, mode: int = 0o644) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(content), mode
    archive.addfile(member, io.BytesIO(content))


def write_image(path: Path) -> None:
    """Write what `docker save` writes: one layer with a shell, and a command that greets."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as layer:
        add(layer, "bin/sh", find_busybox().read_bytes(), 0o755)
    content = packed.getvalue()
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Cmd": ["sh", "-c", "echo hello from $PLACE"], "Env": ["PLACE=an image"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{sha256(content).hexdigest()}"]},
    }
    about = {"Config": "config.json", "RepoTags": ["busybox:latest"], "Layers": ["layer.tar"]}
    with tarfile.open(path, "w") as image:
        add(image, "config.json", json.dumps(config).encode())
        add(image, "layer.tar", content)
        add(image, "manifest.json", json.dumps([about]).encode())


@pytest.fixture
def cook(tmp_path: Path, memory: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, where `ocirun` keeps its state in a place of the test."""
    _, runtime = find_runtime("ours")
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "ocirun").write_text(
        f'#!/bin/sh\n[ "$1" != run ] || set -- --root {tmp_path}/state "$@"\nexec {runtime} "$@"\n'
    )
    (programs / "ocirun").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}:/usr/sbin")
    return Path(tempfile.mkdtemp(dir=memory))


def follow(recipe: str, folder: Path) -> str:
    """Run the commands one after the other; returns what they printed."""
    done = subprocess.run(
        ["sh", "-e", "-c", recipe],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_the_page_has_the_recipes_that_are_run() -> None:
    assert set(RECIPES) == {"docker-save", "oci-layout", "debootstrap"}


def test_a_tarball_of_docker_save_becomes_a_container(cook: Path) -> None:
    write_image(cook / "image.tar")
    assert "hello from an image" in follow(RECIPES["docker-save"], cook)


def test_an_oci_layout_becomes_a_container(cook: Path) -> None:
    write_image(cook / "image.tar")
    follow("skopeo copy docker-archive:image.tar oci:layout:latest", cook)
    assert "hello from an image" in follow(RECIPES["oci-layout"], cook)


def test_a_debian_of_debootstrap_becomes_a_container(cook: Path, untouched: Bare) -> None:
    """The first command was run for the fixture; the others are."""
    first, *others = RECIPES["debootstrap"].splitlines()
    assert first.startswith("debootstrap --variant=minbase ")
    (cook / "box").mkdir()
    untouched.copy(cook / "box" / "rootfs")
    version = (untouched.root / "etc/debian_version").read_text()
    assert follow("\n".join(others), cook).splitlines()[-1] == version.strip()
