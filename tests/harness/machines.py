"""Containers of the vm engine."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness.box import Container
from harness.machine import MNT_DETACH, libc_call
from harness.runtime import Result, wait_until

BOOT_S = 300.0  # a machine is emulated, and others work beside it
WAIT_S = 60.0
VM = ("--engine", "vm")


def by_vm(container: Container, verb: str, *flags: str | Path, **keys: Any) -> Result:  # noqa: ANN401
    words = (*VM, verb, "--bundle", container.bundle.path, *flags, container.id)
    keys.setdefault("timeout", BOOT_S)
    container._first = container.runtime.call(*words, bundle=container.bundle, **keys)
    return container._first


def wait_output(container: Container, text: str) -> None:
    wait_until(lambda: text in container.output, f"{text!r} in the output", WAIT_S)


def qemu() -> str:
    found = subprocess.run(
        ["sh", "-c", "command -v qemu-system-x86_64"], capture_output=True, text=True, check=True
    )
    return found.stdout.strip()


def in_guest(script: str) -> str:
    """Return a script for `sh -c` that does what would damage a host, and nothing on this one.

    A runtime that ignores the engine would run it here; each boot of a kernel has an id of its own.
    """
    place = "/proc/sys/kernel/random/boot_id"
    return f'[ "$(cat {place})" != {Path(place).read_text().strip()} ] || exit 99\n{script}'


@contextlib.contextmanager
def tmpfs(place: Path, options: str) -> Iterator[None]:
    """Mount a file system for root on `place`, which need not be there."""
    place.mkdir(exist_ok=True)
    assert mount_tmpfs(place, options) == 0
    try:
        yield
    finally:
        libc_call("umount2", os.fsencode(place), MNT_DETACH)


def mount_tmpfs(place: Path, options: str, flags: int = 0) -> int:
    data = f"mode=700,{options}".encode()
    return libc_call("mount", b"tmpfs", os.fsencode(place), b"tmpfs", flags, data)
