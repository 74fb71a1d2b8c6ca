"""The recipes of docs/network.md, and networks of `try`, do what is said of them.

Source: docs/network.md#recipes; docs/try.md.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Generator
from functools import partial
from pathlib import Path

import pytest
from harness.box import Box
from harness.guarded import guard_machine
from harness.machine import REPO
from harness.needs import needs
from harness.networks import Net
from harness.user import Home, User

pytestmark = [pytest.mark.integration, needs("root", "ours", "tool ip", "tool pasta")]

TEXT = (REPO / "docs" / "network.md").read_text().partition("## Recipes\n")[2]
RECIPES = re.findall(r"^```sh\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
PRINTS = ("the world", "the world", "inet 10.99.0.2/24", "inet 10.98.0.2/24")


@pytest.fixture
def world(net: Net, tmp_path: Path) -> Generator[Net]:
    """A network with a way out, at whose end a web server answers."""
    there = net.outside("203.0.113.2/24")
    net.ip("route", "add", "default", "via", "203.0.113.2")
    (tmp_path / "page").write_text("the world\n")
    server = ("busybox", "httpd", "-f", "-p", "80", "-h", str(tmp_path))
    process = subprocess.Popen(["ip", "netns", "exec", there.name, *server])
    yield net
    process.kill()
    process.wait()


def test_every_recipe_is_tested() -> None:
    assert len(RECIPES) == len(PRINTS)


@pytest.mark.parametrize("number", range(len(PRINTS)))
def test_a_recipe_does_what_it_says(box: Box, world: Net, number: int) -> None:
    if "cni" in RECIPES[number] and not Path("/usr/lib/cni/bridge").exists():
        pytest.skip("no CNI plugins")
    before = world.state()
    place = box.folder / "place"
    place.mkdir()
    bundle = box.bundle()
    shutil.rmtree(bundle.rootfs)
    subprocess.run([REPO / "bundles" / "fill", bundle.path], check=True)
    bundle.rootfs.rename(place / "rootfs")
    command = place / "ocirun"
    command.write_text(f'#!/bin/sh\nexec {box.runtime.path} --root {box.runtime.root} "$@"\n')
    command.chmod(0o755)
    output = box.folder / "output"
    with output.open("wb") as file:  # a container that stays must not keep us waiting
        done = subprocess.run(
            ["sh", "-eux", "-c", RECIPES[number]],
            cwd=place,
            env={**os.environ, "PATH": f"{place}:{os.environ['PATH']}"},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            preexec_fn=partial(guard_machine, box.folder),
            timeout=60,
            check=False,
        )
    assert done.returncode == 0, output.read_text()
    assert PRINTS[number] in output.read_text()
    assert list(place.glob("cni/used/mynet/10.*")) == []  # DEL gave the address back
    devices, _, tables = world.state()
    assert (devices, [each for each in tables if each.startswith("ocirun")]) == (before[0], [])


@needs("userns")
def test_try_of_an_ordinary_user_reaches_the_world(box: Box, world: Net) -> None:
    del world
    user = User(box.folder)
    user.open_devices = ("net/tun",)
    home = Home(box, user)
    bundle = home.bundle()
    words = ("--net", "user", "--root", bundle.rootfs, "--")
    page = ("/bin/busybox", "wget", "-qO-", "http://203.0.113.2/page")
    done = box.runtime.call("try", *words, *page, **home.keys).ok()
    assert done.stdout == "the world\n"
    refused = box.runtime.call("try", "--net", "cni:x", "--", "true", **home.keys)
    refused.failed("--net cni:x: CNI plugins need root")
