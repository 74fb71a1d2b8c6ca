"""A document that a verb is told to read is a file or a pipe, and nothing else is waited for.

Attack, or mistake: a FIFO that nobody writes to, a device node or a directory has the place of
config.json, of `exec --process`, `update --resources` or of what is converted. Opening the FIFO
would wait for ever, and opening a device may do something: a watchdog begins to count.

runc 1.1.5 and crun 1.8.1 wait at a FIFO.

Source: fifo(7), open(2); bash(1), "Process Substitution".
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from harness.box import Box, Container
from harness.needs import needs

pytestmark = needs("ours")

SOON_S = 10.0  # it is at once; a machine may be busy


def calls(container: Container, path: Path) -> dict[str, tuple[str | Path, ...]]:
    """Return a call of each verb that reads `path`, a config.json."""
    out = path.parent / "out"
    libcontainer = ("convert", "--from", "libcontainer", "--rootfs", "/", path, out)
    return {
        "create": ("create", "--bundle", path.parent, "other"),
        "validate": ("validate", path.parent),
        "exec": ("exec", "--process", path, container.id),
        "update": ("update", "--resources", path, container.id),
        "mounts": ("mounts", "add", container.id, path),
        "a bundle": ("convert", "--from", "oci", "--to", "lxc", path.parent, out),
        "lxc": ("convert", "--from", "lxc", path, out),
        "libcontainer": libcontainer,
    }


def _fifo(path: Path) -> str:
    os.mkfifo(path)
    return "nobody has written to this pipe"


def _device(path: Path) -> str:
    """A link to it: what a watchdog would be told by an open can not be seen of /dev/full."""
    path.symlink_to("/dev/full")
    return "neither a regular file nor a pipe"


def _directory(path: Path) -> str:
    path.mkdir()
    return "is a directory"


@pytest.mark.parametrize("make", [_fifo, _device, _directory])
def test_what_is_no_document_is_refused_at_once(
    box: Box, tmp_path: Path, make: Callable[[Path], str]
) -> None:
    path = tmp_path / "config.json"
    words = make(path)
    container = box.running()
    for verb, call in calls(container, path).items():
        result = box.runtime.call(*call, timeout=SOON_S)
        assert result.status > 0, verb
        assert words in result.said + result.stdout, result.story()
        assert os.listdir(tmp_path) == ["config.json"]


@pytest.mark.parametrize("verb", ["exec", "update"])
def test_what_comes_through_a_pipe_is_waited_for(box: Box, tmp_path: Path, verb: str) -> None:
    """`exec --process <(program)`: the writer is there, and has written nothing yet."""
    container = box.running()
    path = tmp_path / "pipe"
    os.mkfifo(path)
    document = {
        "exec": {"args": ["/bin/sh", "-c", "echo through"], "cwd": "/"},
        "update": {"pids": {"limit": 77}},
    }[verb]
    held = os.open(path, os.O_RDWR)  # as the shell holds it while it starts the program

    def write() -> None:
        time.sleep(0.5)
        os.write(held, json.dumps(document).encode())
        os.close(held)

    writer = threading.Thread(target=write)
    writer.start()
    result = box.runtime.call(*calls(container, path)[verb]).ok()
    writer.join()
    assert result.stdout == ("through\n" if verb == "exec" else "")
