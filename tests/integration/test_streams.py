"""What flows between run's own files and a container that cannot have those themselves.

Source: docs/runc-compat/protocols.md#foreground-mode.
"""

from __future__ import annotations

import os
import subprocess
import threading
import time

from harness.box import Box, Container
from harness.needs import needs

pytestmark = needs("userns")

MUCH = 1 << 20


def mapped(box: Box, *args: str) -> Container:
    """Name a container of a user namespace, whose streams are copied."""
    bundle = box.bundle(*args)
    bundle.use_userns((0, 100000, 65536))
    return box.container(bundle)


def spawn(container: Container, stdin: int, stdout: int) -> subprocess.Popen[bytes]:
    process, _ = container.runtime.spawn(
        "run", "--bundle", container.bundle.path, container.id,
        bundle=container.bundle, stdin=stdin, stdout=stdout,
    )  # fmt: skip
    return process


def test_output_flows_while_input_is_not_read(box: Box) -> None:
    """Both are more than a pipe holds; who copies must not wait for the one with the other."""
    script = f"dd if=/dev/zero bs={MUCH} count=1 2>/dev/null; cat | wc -c"
    container = mapped(box, "sh", "-c", script)
    process = spawn(container, subprocess.PIPE, subprocess.PIPE)
    timer = threading.Timer(20, process.kill)
    timer.start()
    output, _ = process.communicate(b"x" * MUCH)
    timer.cancel()
    assert process.returncode == 0
    assert output[MUCH:].strip() == str(MUCH).encode()


def test_all_output_reaches_a_pipe_that_does_not_block(box: Box) -> None:
    """The caller's end may be non-blocking (it is one file for both sides); a full pipe waits."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    script = f"dd if=/dev/zero bs={MUCH} count=1 2>/dev/null"
    process = spawn(mapped(box, "sh", "-c", script), subprocess.DEVNULL, writing)
    os.close(writing)
    time.sleep(0.5)  # until it is full
    count = 0
    while data := os.read(reading, 4096):
        count += len(data)
    os.close(reading)
    assert process.wait() == 0
    assert count == MUCH


def test_a_reader_that_goes_away_does_not_hold_the_container(box: Box) -> None:
    reading, writing = os.pipe()
    process = spawn(mapped(box, "yes"), subprocess.DEVNULL, writing)
    os.close(writing)
    os.read(reading, 100)
    os.close(reading)
    assert process.wait(20) != 0
